//! Looks up names, in the machine's hosts file and at its DNS servers.
//!
//! Not by the system's resolver: that blocks a thread, and cannot be stopped when an attempt is over. Some receivers whose names
//! are looked up for ever would take all such threads.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Hosts, TokioResolver};
use url::Host;

/// How long an answer of a DNS server is used, at most.
const MAX_AGE: Duration = Duration::from_secs(60);

/// The same of one that says that there is no such name: an owner may have set it meanwhile.
const MAX_NEGATIVE_AGE: Duration = Duration::from_secs(5);

/// What says where names are looked up. It is read again when it has changed.
const FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// Looks up names.
pub(super) struct Names {
    /// The DNS server that is asked; `None` for those of the machine.
    server: Option<SocketAddr>,
    sources: Mutex<Option<Arc<Sources>>>,
}

/// Where names are looked up.
struct Sources {
    /// When the files were changed last that this was read from.
    changed_at: [Option<SystemTime>; 2],
    hosts: Hosts,
    /// Fails if the machine has no valid configuration.
    dns: Result<TokioResolver, NetError>,
}

impl Names {
    /// Asks this DNS server, or those of the machine.
    pub(super) fn new(server: Option<SocketAddr>) -> Self {
        Self { server, sources: Mutex::default() }
    }

    /// The addresses of a name. Once the future is dropped, nobody waits for an answer any more, and nothing is held.
    ///
    /// # Errors
    /// If there are none, or if no DNS server answers.
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, NetError> {
        // An IPv4 address in another form, for example as one number.
        if let Ok(Host::Ipv4(address)) = Host::parse(name) {
            return Ok(vec![address.into()]);
        }
        let name = Name::from_ascii(name)?;
        let sources = self.sources();
        // The resolver would ask for the addresses of the other family, and wait for the answer.
        let in_file = |kind| sources.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let in_file: Vec<LookupIp> =
            [RecordType::A, RecordType::AAAA].into_iter().filter_map(in_file).map(LookupIp::from).collect();
        if !in_file.is_empty() {
            return Ok(in_file.iter().flat_map(LookupIp::iter).collect());
        }
        let dns = sources.dns.as_ref().map_err(Clone::clone)?;
        Ok(dns.lookup_ip(name).await?.iter().collect())
    }

    fn sources(&self) -> Arc<Sources> {
        let changed_at = FILES.map(|path| fs::metadata(path).and_then(|file| file.modified()).ok());
        // No code panics while it holds the lock.
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sources.as_ref().filter(|known| known.changed_at == changed_at) {
            return known.clone();
        }
        let hosts = Hosts::from_system().unwrap_or_default();
        sources.insert(Arc::new(Sources { changed_at, hosts, dns: resolver(self.server) })).clone()
    }
}

fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let (config, mut options) = match server {
        None => read_system_conf()?,
        Some(server) => {
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            config.connections.iter_mut().for_each(|connection| connection.port = server.port());
            (ResolverConfig::from_parts(None, vec![], vec![config]), ResolverOpts::default())
        }
    };
    options.use_hosts_file = ResolveHosts::Never;
    options.positive_max_ttl = Some(MAX_AGE);
    options.negative_max_ttl = Some(MAX_NEGATIVE_AGE);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build()
}
