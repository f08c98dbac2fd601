//! Which hosts, and which addresses, a connection for a job may go to.
//!
//! A host is judged by what the owner wrote, before the first request and again at
//! each redirect. An address is judged where the connection is made: a name that the
//! owner allows must not lead into the owner's network because whoever runs its DNS
//! says so.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;

/// How long a connection may take to stand.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// Says where a connection may go.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Scheme, host, port.
    hosts: BTreeSet<(String, String, u16)>,
    private: Vec<IpAddr>,
    /// Whether everything is allowed: on the machine of whoever asks.
    open: bool,
}

impl Guard {
    /// What an owner allows. The error is the entry that is none, and why.
    pub(super) fn new(hosts: &[String], private: Vec<IpAddr>) -> Result<Self, (String, String)> {
        let hosts = hosts
            .iter()
            .map(|text| Self::entry(text).map_err(|reason| (text.clone(), reason)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            hosts,
            private,
            open: false,
        })
    }

    /// Everything is allowed.
    pub(super) fn open() -> Self {
        Self {
            open: true,
            ..Self::default()
        }
    }

    /// Scheme, host and port of an entry: `host`, `host:port`, or either behind
    /// `http://` or `https://`.
    pub(super) fn entry(text: &str) -> Result<(String, String, u16), String> {
        let url = if text.contains("://") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        let url = Url::parse(&url).map_err(|error| error.to_string())?;
        let bare = url.path() == "/" && url.query().is_none() && url.username().is_empty();
        if !bare || url.password().is_some() {
            return Err(
                "write host, host:port, or http://host:port, and nothing behind it".to_owned(),
            );
        }
        place(&url)
    }

    /// Whether a URL may be asked; the error says why not, and the cure.
    pub(super) fn judge(&self, url: &str) -> Result<(), String> {
        let url = Url::parse(url).map_err(|error| error.to_string())?;
        self.judge_url(&url)
    }

    fn judge_url(&self, url: &Url) -> Result<(), String> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it carries a name or a password".to_owned());
        }
        let place = place(url)?;
        if self.open {
            return Ok(());
        }
        if !self.hosts.contains(&place) {
            let (scheme, host, port) = place;
            return Err(format!(
                "this node fetches nothing from {scheme}://{host}:{port}: its owner allows hosts in `origins.hosts`"
            ));
        }
        // A name is judged by the addresses that it leads to, when it is looked up.
        match url
            .host_str()
            .map(|host| host.trim_matches(['[', ']']).parse::<IpAddr>())
        {
            Some(Ok(address)) => self.reaches(address),
            _ => Ok(()),
        }
    }

    fn reaches(&self, address: IpAddr) -> Result<(), String> {
        if self.open || is_public(address) || self.private.contains(&address) {
            return Ok(());
        }
        Err(format!(
            "{address} is an address of a private network: its owner allows such in `origins.private`"
        ))
    }
}

fn place(url: &Url) -> Result<(String, String, u16), String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{} is neither http nor https", url.scheme()));
    }
    let host = url.host_str().ok_or("it names no host")?;
    let port = url.port_or_known_default().ok_or("it names no port")?;
    Ok((url.scheme().to_owned(), host.to_ascii_lowercase(), port))
}

/// A client whose every connection is judged. Proxies of the environment are not
/// used: they would make connections that nobody judges.
pub(super) fn client(guard: &Arc<Guard>) -> Result<Client, String> {
    let at_redirect = Arc::clone(guard);
    let policy = Policy::custom(move |attempt| {
        if attempt.previous().len() > MAX_REDIRECTS {
            return attempt.error(format!("more than {MAX_REDIRECTS} redirects"));
        }
        match at_redirect.judge_url(attempt.url()) {
            Ok(()) => attempt.follow(),
            Err(reason) => attempt.error(format!("a redirect is refused: {reason}")),
        }
    });
    build(Lookup(Arc::clone(guard)), policy)
}

/// A client of one server that the owner named. `private` when it may be in a private
/// network.
pub(super) fn client_of_server(private: bool) -> Result<Client, String> {
    let guard = Guard {
        open: private,
        ..Guard::default()
    };
    build(Lookup(Arc::new(guard)), Policy::none())
}

fn build(lookup: Lookup, policy: Policy) -> Result<Client, String> {
    Client::builder()
        .dns_resolver(lookup)
        .redirect(policy)
        .no_proxy()
        .connect_timeout(CONNECT_WAIT)
        .user_agent(concat!("embermesh/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| chain(&error))
}

/// An error with its causes, without the URL: it may carry a key in its query.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    text
}

/// Looks names up, and gives only addresses that may be reached.
struct Lookup(Arc<Guard>);

impl Resolve for Lookup {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let mut refused = None;
            let mut reached = Vec::with_capacity(found.len());
            for address in found {
                match guard.reaches(address.ip()) {
                    Ok(()) => reached.push(address),
                    Err(reason) => refused = Some(reason),
                }
            }
            match (reached.is_empty(), refused) {
                (true, Some(reason)) => Err(reason.into()),
                _ => Ok(Box::new(reached.into_iter()) as Addrs),
            }
        })
    }
}

/// Whether an address is of the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => is_public_v4(four),
        IpAddr::V6(six) => is_public_v6(six),
    }
}

fn is_public_v4(four: Ipv4Addr) -> bool {
    let [a, b, c, _] = four.octets();
    let special = a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19));
    !(special
        || four.is_private()
        || four.is_loopback()
        || four.is_link_local()
        || four.is_multicast()
        || four.is_documentation())
}

fn is_public_v6(six: Ipv6Addr) -> bool {
    let words = six.segments();
    let low = Ipv4Addr::from(((u32::from(words[6])) << 16) | u32::from(words[7]));
    // Addresses that carry one of IPv4 are what that is.
    if words[..5] == [0; 5] && matches!(words[5], 0 | 0xffff) {
        return words[..6] != [0; 6] && is_public_v4(low);
    }
    if words[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return is_public_v4(low);
    }
    if words[0] == 0x2002 {
        let four = (u32::from(words[1]) << 16) | u32::from(words[2]);
        return is_public_v4(Ipv4Addr::from(four));
    }
    // Only this part of the space is given out, and not all of it.
    (words[0] & 0xe000) == 0x2000
        && !(words[0] == 0x2001 && (words[1] < 0x200 || words[1] == 0xdb8))
        && (words[0] & 0xfff0) != 0x3ff0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_known_in_every_disguise() {
        for text in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "::7f00:1",
            "2001::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["1.1.1.1", "93.184.216.34", "2606:4700::1", "::ffff:1.1.1.1"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn hosts_are_allowed_with_their_scheme_and_port() {
        let hosts = ["Example.org".to_owned(), "http://10.0.0.1:8080".to_owned()];
        let guard = Guard::new(&hosts, Vec::new()).unwrap();
        assert!(guard.judge("https://example.org/a?b").is_ok());
        assert!(guard.judge("https://example.org:443/a").is_ok());
        for refused in [
            "http://example.org/a",
            "https://example.org:8443/a",
            "https://sub.example.org/a",
            "https://example.org.evil.net/a",
            "https://user@example.org/a",
            "ftp://example.org/a",
        ] {
            assert!(guard.judge(refused).is_err(), "{refused}");
        }
        // Allowed by name, and private all the same.
        let reason = guard.judge("http://10.0.0.1:8080/a").unwrap_err();
        assert!(reason.contains("origins.private"), "{reason}");
        let private = vec!["10.0.0.1".parse().unwrap()];
        let guard = Guard::new(&hosts, private).unwrap();
        assert!(guard.judge("http://10.0.0.1:8080/a").is_ok());
        // However the address is written.
        assert!(guard.judge("http://0x0a000001:8080/a").is_ok());
        assert!(guard.judge("http://127.1:8080/a").is_err());
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_refused_where_it_is_looked_up() {
        let guard = Guard::new(&["http://localhost:1".to_owned()], Vec::new()).unwrap();
        assert!(guard.judge("http://localhost:1/a").is_ok());
        let client = client(&Arc::new(guard)).unwrap();
        let error = client.get("http://localhost:1/a").send().await.unwrap_err();
        assert!(
            chain(&error).contains("private network"),
            "{}",
            chain(&error)
        );
    }
}
