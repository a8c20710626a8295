//! The methods that a route takes. One that takes GET takes HEAD too.

use http::Method;

/// A list of methods, the usual ones as bits.
#[derive(Debug)]
pub(super) struct MethodSet {
    /// One bit for each of [`STANDARD`]; every bit there is for all methods.
    bits: u16,
    other: Box<[Method]>,
}

const STANDARD: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::OPTIONS,
    Method::PATCH,
    Method::CONNECT,
    Method::TRACE,
];
const GET: u16 = 1;
const HEAD: u16 = 2;
const ALL: u16 = u16::MAX;

/// The bit of a method; 0 for one that is not in [`STANDARD`].
fn bit(method: &Method) -> u16 {
    match *method {
        Method::GET => GET,
        Method::HEAD => HEAD,
        Method::POST => 1 << 2,
        Method::PUT => 1 << 3,
        Method::DELETE => 1 << 4,
        Method::OPTIONS => 1 << 5,
        Method::PATCH => 1 << 6,
        Method::CONNECT => 1 << 7,
        Method::TRACE => 1 << 8,
        _ => 0,
    }
}

impl MethodSet {
    /// The set of a route's list; an empty list means all.
    pub(super) fn new(methods: &[Method]) -> MethodSet {
        let listed = methods.iter().fold(0, |bits, method| bits | bit(method));
        let bits = match listed {
            _ if methods.is_empty() => ALL,
            _ if listed & GET != 0 => listed | HEAD,
            _ => listed,
        };
        let other = methods.iter().filter(|method| bit(method) == 0);
        MethodSet {
            bits,
            other: other.cloned().collect(),
        }
    }

    /// Whether a request with this method is taken.
    pub(super) fn takes(&self, method: &Method) -> bool {
        self.bits == ALL || self.bits & bit(method) != 0 || self.other.contains(method)
    }

    /// Appends the methods, for `Allow`. All methods are no list: they are never refused.
    pub(super) fn list(&self, into: &mut Vec<Method>) {
        let standard = STANDARD
            .iter()
            .filter(|method| self.bits & bit(method) != 0);
        into.extend(standard.chain(&self.other).cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_standard_method_has_its_bit() {
        for (index, method) in STANDARD.iter().enumerate() {
            assert_eq!(bit(method), 1 << index, "{method}");
        }
        assert_eq!(bit(&"PURGE".parse().unwrap()), 0);
    }

    #[test]
    fn get_brings_head_and_not_the_other_way_round() {
        let get = MethodSet::new(&[Method::GET]);
        assert!(get.takes(&Method::GET) && get.takes(&Method::HEAD));
        assert!(!get.takes(&Method::POST));
        let head = MethodSet::new(&[Method::HEAD]);
        assert!(head.takes(&Method::HEAD) && !head.takes(&Method::GET));
    }

    #[test]
    fn an_extension_method_is_taken_when_listed_or_when_all_are() {
        let purge: Method = "PURGE".parse().unwrap();
        assert!(MethodSet::new(&[]).takes(&purge));
        assert!(MethodSet::new(&[Method::GET, purge.clone()]).takes(&purge));
        assert!(!MethodSet::new(&[Method::GET]).takes(&purge));
    }
}
