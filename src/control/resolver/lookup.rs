//! One look-up of an endpoint's name, as the system would make it: `/etc/hosts` first, then the
//! name servers, with the search list of `/etc/resolv.conf`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::system_conf::read_system_conf;

use crate::upstream::{EndpointKind, EndpointSpec, Target};
use crate::vocab::Clock;

/// Longest time for one answer, all name servers and tries together.
const LONGEST: Duration = Duration::from_secs(5);
/// Longest wait for one name server, if the system does not say less.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// Most addresses of one endpoint: beyond them an upstream is not spread any better.
const MOST: usize = 256;

/// Looks names up.
pub(super) struct Lookup(TokioResolver);

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// At least one, sorted, none twice.
    pub(super) targets: Vec<Target>,
    /// How long it holds, as the name server said.
    pub(super) ttl: Duration,
}

/// Why a name has no address.
#[derive(Debug)]
pub(super) enum LookupError {
    /// The name server knows no such name.
    NoName,
    /// The name is known, and has no record of the kind.
    NoRecord,
    /// The one target of its SRV records is the root: the service is not offered here.
    NotOffered,
    /// No name server answered in time.
    Silent,
    /// Anything else.
    Failed(NetError),
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LookupError::NoName => f.write_str("no such name"),
            LookupError::NoRecord => f.write_str("the name has no address"),
            LookupError::NotOffered => f.write_str("its SRV record says: not offered"),
            LookupError::Silent => f.write_str("no name server answers"),
            LookupError::Failed(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for LookupError {}

impl From<NetError> for LookupError {
    fn from(error: NetError) -> LookupError {
        match error {
            NetError::Timeout => LookupError::Silent,
            NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
                ResponseCode::NXDomain => LookupError::NoName,
                _ => LookupError::NoRecord,
            },
            error => LookupError::Failed(error),
        }
    }
}

impl Lookup {
    /// Asks these name servers; without any, those of the system.
    pub(super) fn new(servers: &[SocketAddr]) -> Result<Lookup, NetError> {
        let (config, mut options) = read_system_conf().unwrap_or_else(|error| {
            // As the C library does: one on this machine.
            tracing::debug!(%error, "no name server in /etc/resolv.conf");
            let local = NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![local]);
            (config, ResolverOpts::default())
        });
        let config = match servers {
            [] => config,
            servers => {
                let servers = servers.iter().map(name_server).collect();
                let search = config.search().to_vec();
                ResolverConfig::from_parts(config.domain().cloned(), search, servers)
            }
        };
        // Asked anew when the answer is no longer valid, or not trusted any more.
        options.cache_size = 0;
        // The addresses of both kinds would lead to the same machines.
        options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
        options.timeout = options.timeout.min(SERVER_TIMEOUT);
        let provider = TokioRuntimeProvider::default();
        let builder = TokioResolver::builder_with_config(config, provider);
        Ok(Lookup(builder.with_options(options).build()?))
    }

    /// What an endpoint stands for now.
    pub(super) async fn resolve(&self, spec: &EndpointSpec) -> Result<Answer, LookupError> {
        let found = async {
            match spec.kind {
                EndpointKind::Host => self.machine(&spec.host, spec.port).await,
                EndpointKind::Srv => self.service(&spec.host).await,
            }
        };
        let mut answer = tokio::time::timeout(LONGEST, found)
            .await
            .unwrap_or(Err(LookupError::Silent))?;
        answer.targets.sort_unstable();
        answer.targets.dedup();
        if answer.targets.len() > MOST {
            let (endpoint, addresses) = (&*spec.text, answer.targets.len());
            tracing::warn!(endpoint, addresses, "too many addresses; {MOST} are used");
            answer.targets.truncate(MOST);
        }
        match answer.targets.is_empty() {
            true => Err(LookupError::NoRecord),
            false => Ok(answer),
        }
    }

    async fn machine(&self, name: &str, port: u16) -> Result<Answer, LookupError> {
        let found = self.0.lookup_ip(name).await?;
        let authority: Arc<str> = format!("{name}:{port}").into();
        let target = |ip| Target {
            address: SocketAddr::new(ip, port),
            authority: Arc::clone(&authority),
        };
        Ok(Answer {
            targets: found.iter().map(target).collect(),
            ttl: remaining(found.valid_until()),
        })
    }

    /// The targets of the best priority. Weights are not looked at: balancing goes by load.
    async fn service(&self, name: &str) -> Result<Answer, LookupError> {
        let found = self.0.srv_lookup(name).await?;
        let mut ttl = remaining(found.valid_until());
        let records = best(found.answers().iter().map(|record| &record.data));
        let mut targets = Vec::new();
        for record in records {
            if record.target.is_root() {
                return Err(LookupError::NotOffered);
            }
            let machine = record.target.to_ascii();
            let machine = machine.trim_end_matches('.');
            // With its final dot: the name is whole, nothing is searched for.
            match self.machine(&format!("{machine}."), record.port).await {
                Ok(answer) => {
                    ttl = ttl.min(answer.ttl);
                    let authority: Arc<str> = format!("{machine}:{}", record.port).into();
                    targets.extend(answer.targets.into_iter().map(|target| Target {
                        authority: Arc::clone(&authority),
                        ..target
                    }));
                }
                // One machine that is gone does not hold up the others.
                Err(LookupError::NoName | LookupError::NoRecord) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Answer { targets, ttl })
    }
}

/// The SRV records with the lowest priority number.
fn best<'a>(records: impl Iterator<Item = &'a RData> + Clone) -> impl Iterator<Item = &'a SRV> {
    let services = records.filter_map(|data| match data {
        RData::SRV(record) => Some(record),
        _ => None,
    });
    let lowest = services.clone().map(|record| record.priority).min();
    services.filter(move |record| Some(record.priority) == lowest)
}

fn remaining(until: Instant) -> Duration {
    until.saturating_duration_since(Clock::now())
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let ways = vec![
        at_port(ConnectionConfig::udp()),
        at_port(ConnectionConfig::tcp()),
    ];
    NameServerConfig::new(address.ip(), true, ways)
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::Name;

    use super::*;

    #[test]
    fn of_a_service_the_lowest_priority_alone_is_used() {
        let record = |priority, weight, target: &str| {
            let target = Name::from_ascii(target).unwrap();
            RData::SRV(SRV::new(priority, weight, 80, target))
        };
        let all = [
            record(20, 100, "b."),
            record(10, 0, "a."),
            record(10, 9, "c."),
        ];
        let names: Vec<String> = best(all.iter()).map(|r| r.target.to_ascii()).collect();
        assert_eq!(names, ["a.", "c."]);
        assert_eq!(best([].iter()).count(), 0);
    }
}
