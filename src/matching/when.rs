//! Conditions on a request beyond its route: headers, the client's address, query parameters.

use std::fmt;
use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

use super::{HeaderMatch, ValueTest};

/// Conditions that must all hold; without any, everything is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// On headers; each must hold.
    pub headers: Vec<HeaderMatch>,
    /// Ranges of which one must hold the client's address; empty: any address.
    pub client_ip: Vec<IpNet>,
    /// On query parameters; each must hold.
    pub query: Vec<QueryMatch>,
}

/// A condition on one query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMatch {
    /// The parameter's name, decoded. Names are compared case by case.
    pub name: String,
    /// What its decoded value must be. Given several times, one must satisfy it.
    pub test: ValueTest,
}

/// What conditions look at.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The client's address, IPv4 also when it came mapped into IPv6.
    pub client: IpAddr,
    /// The query as received, without its question mark.
    pub query: Option<&'a str>,
}

impl When {
    /// Whether there is no condition.
    pub fn is_always(&self) -> bool {
        self.headers.is_empty() && self.client_ip.is_empty() && self.query.is_empty()
    }

    /// Whether every condition holds.
    pub fn holds(&self, asker: &Asker<'_>) -> bool {
        let contains = |range: &IpNet| range.contains(&asker.client);
        self.headers
            .iter()
            .all(|header| header.holds(asker.headers))
            && (self.client_ip.is_empty() || self.client_ip.iter().any(contains))
            && self.query.iter().all(|query| query.holds(asker.query))
    }
}

impl QueryMatch {
    /// Whether a query satisfies the condition. `%` and `+` are decoded as HTML forms write them.
    pub fn holds(&self, query: Option<&str>) -> bool {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let mut values = pairs.filter(|(name, _)| *name == self.name);
        match self.test {
            ValueTest::Present(present) => values.next().is_some() == present,
            ValueTest::Exact(_)
            | ValueTest::Prefix(_)
            | ValueTest::Suffix(_)
            | ValueTest::Regex(_) => values.any(|(_, value)| self.test.takes(value.as_bytes())),
        }
    }
}

/// For people: `header x-client-version prefix "1.0.", client_ip 10.0.0.0/8`.
impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for header in &self.headers {
            write!(f, "{gap}header {} {}", header.name, header.test)?;
            gap = ", ";
        }
        if !self.client_ip.is_empty() {
            let ranges: Vec<String> = self.client_ip.iter().map(IpNet::to_string).collect();
            write!(f, "{gap}client_ip {}", ranges.join(" or "))?;
            gap = ", ";
        }
        for query in &self.query {
            write!(f, "{gap}query {} {}", query.name, query.test)?;
            gap = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3));

    fn query(name: &str, test: ValueTest, query: Option<&str>) -> bool {
        let name = name.to_owned();
        QueryMatch { name, test }.holds(query)
    }

    fn exact(text: &str) -> ValueTest {
        ValueTest::Exact(text.to_owned())
    }

    #[test]
    fn query_parameters_are_compared_decoded() {
        assert!(query("q", exact("a b"), Some("q=a+b")));
        assert!(query("q", exact("a b"), Some("x=1&q=a%20b")));
        assert!(query("q r", exact(""), Some("q%20r")));
        assert!(query("q", exact("2"), Some("q=1&q=2")));
        assert!(!query("q", exact("1"), Some("Q=1")));
        assert!(!query("q", exact("1"), None));
    }

    #[test]
    fn presence_of_a_parameter_is_about_its_name_alone() {
        assert!(query("q", ValueTest::Present(true), Some("q")));
        assert!(!query("q", ValueTest::Present(true), Some("p=q")));
        assert!(query("q", ValueTest::Present(false), None));
        assert!(!query("q", ValueTest::Present(false), Some("q=1")));
    }

    #[test]
    fn every_condition_must_hold_and_one_range_is_enough() {
        let mut headers = HeaderMap::new();
        headers.insert("x-v", http::HeaderValue::from_static("1.0.7"));
        let asker = Asker {
            headers: &headers,
            client: CLIENT,
            query: Some("beta=1"),
        };
        let mut when = When::default();
        assert!(when.is_always() && when.holds(&asker));
        let prefix = ValueTest::Prefix("1.0.".to_owned());
        when.headers.extend(HeaderMatch::new("x-v", prefix));
        when.client_ip = vec![
            "192.0.2.0/24".parse().unwrap(),
            "10.0.0.0/8".parse().unwrap(),
        ];
        assert!(when.holds(&asker));
        when.query.push(QueryMatch {
            name: "beta".to_owned(),
            test: exact("1"),
        });
        assert!(when.holds(&asker));
        assert_eq!(
            when.to_string(),
            "header x-v prefix \"1.0.\", client_ip 192.0.2.0/24 or 10.0.0.0/8, query beta = \"1\""
        );
        let other = Asker {
            client: "11.0.0.1".parse().unwrap(),
            ..asker
        };
        assert!(!when.holds(&other));
        assert!(!when.holds(&Asker {
            query: None,
            ..asker
        }));
    }
}
