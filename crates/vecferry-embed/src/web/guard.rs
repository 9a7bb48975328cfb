//! Where a worker may connect to. Bots name addresses, and bots belong to users: without a guard, any of them could
//! have the worker read the credentials of its own task (169.254.170.2), the instance's metadata or a database's
//! neighbour, and find the answer in a knowledge base.
//!
//! What counts is the address that is connected to, so names are checked after they were resolved, by the resolver
//! that the connection itself uses ([`Resolver`]); checking a name beforehand would leave room for it to change in
//! between. Addresses written out in a URL never reach a resolver and are checked by [`Guard::admit`], for every
//! redirect anew; `url` has turned forms like `0x7f.1` or `2130706433` into plain addresses by then.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// What an address is for, by the special-purpose registries of IANA (RFC 6890 and its successors).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    /// Anybody's: the only class open to everyone.
    Public,
    /// This machine: 127.0.0.0/8, `::1`.
    Loopback,
    /// A private network: RFC 1918, unique local `fc00::/7`, the old site-local `fec0::/10`.
    Private,
    /// Shared between a carrier and its customers: 100.64.0.0/10. Inside a VPC, often a private network.
    CarrierNat,
    /// One link: 169.254.0.0/16, `fe80::/10`. Task and instance metadata of AWS are here.
    LinkLocal,
    /// Metadata and credentials of AWS over IPv6: `fd00:ec2::/32`.
    Metadata,
    /// No address at all: 0.0.0.0/8 (which connects to this machine), `::`.
    Unspecified,
    /// A group of machines.
    Multicast,
    /// Documentation, benchmarks, broadcasts, protocols, or not assigned.
    Reserved,
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressClass::Public => "a public address",
            AddressClass::Loopback => "this machine itself",
            AddressClass::Private => "a private address",
            AddressClass::CarrierNat => "a shared address (100.64.0.0/10)",
            AddressClass::LinkLocal => "a link-local address",
            AddressClass::Metadata => "a metadata address of AWS",
            AddressClass::Unspecified => "an unspecified address",
            AddressClass::Multicast => "a multicast address",
            AddressClass::Reserved => "a reserved address",
        })
    }
}

/// The class of an address.
pub fn class_of(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(address) => class_of_v4(address),
        IpAddr::V6(address) => class_of_v6(address),
    }
}

fn class_of_v4(address: Ipv4Addr) -> AddressClass {
    match address.octets() {
        [0, ..] => AddressClass::Unspecified,
        [127, ..] => AddressClass::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressClass::Private,
        [100, 64..=127, ..] => AddressClass::CarrierNat,
        [169, 254, ..] => AddressClass::LinkLocal,
        [224..=239, ..] => AddressClass::Multicast,
        // Protocol assignments, documentation (three nets), the 6to4 relay, benchmarks, class E and broadcast.
        [192, 0, 0 | 2, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [240..=255, ..] => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

fn class_of_v6(address: Ipv6Addr) -> AddressClass {
    // Forms that carry an IPv4 address lead to that one, whoever translates them on the way.
    if let Some(inner) = carried_v4(address) {
        return class_of_v4(inner);
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressClass::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressClass::Loopback,
        [0xfd00, 0x0ec2, ..] => AddressClass::Metadata,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => AddressClass::Private,
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        [0xff00..=0xffff, ..] => AddressClass::Multicast,
        // Teredo and the rest of the protocol assignments (2001::/23), documentation (two nets).
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => {
            AddressClass::Reserved
        }
        // Everything ever handed out for the open network.
        [0x2000..=0x3fff, ..] => AddressClass::Public,
        _ => AddressClass::Reserved,
    }
}

/// The IPv4 address in a mapped (`::ffff:0:0/96`), NAT64 (`64:ff9b::/96`) or 6to4 (`2002::/16`) address.
fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let pair = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some(pair(high, low)),
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => Some(pair(high, low)),
        [0x2002, high, low, ..] => Some(pair(high, low)),
        _ => None,
    }
}

/// An exception to the guard: a host by name, or a network (`10.1.0.0/16`, `fd12::/16`, `10.1.2.3`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// A host and what its name resolves to: this machine, a private or a shared address, never metadata.
    Host(String),
    /// A network, whatever its class.
    Network {
        /// Its first address.
        address: IpAddr,
        /// How many leading bits are fixed.
        prefix: u8,
    },
}

/// Text that is neither a host nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a host name nor a network such as 10.1.0.0/16")]
pub struct NotAllowable(String);

impl FromStr for Allowed {
    type Err = NotAllowable;

    fn from_str(text: &str) -> Result<Allowed, NotAllowable> {
        let refused = || NotAllowable(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            // As a URL would have it: lower case, internationalized names in ASCII.
            let host = Host::parse(text).map_err(|_| refused())?;
            return match (host, prefix) {
                (Host::Domain(name), None) => Ok(Allowed::Host(name)),
                _ => Err(refused()),
            };
        };
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| refused())?,
            None => longest,
        };
        if prefix > longest { Err(refused()) } else { Ok(Allowed::Network { address, prefix }) }
    }
}

impl Allowed {
    fn covers(&self, host: Option<&str>, address: IpAddr, class: AddressClass) -> bool {
        match self {
            Allowed::Host(name) => host == Some(name.as_str()) && is_ordinary(class),
            Allowed::Network { address: network, prefix } => within(address, *network, *prefix),
        }
    }
}

/// Whether there can be a web server of one's own at such an address.
fn is_ordinary(class: AddressClass) -> bool {
    use AddressClass::{CarrierNat, Loopback, Private};
    matches!(class, Loopback | Private | CarrierNat)
}

fn within(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let (address, network, bits) = match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (u128::from(one.to_bits()), u128::from(other.to_bits()), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        _ => return false,
    };
    let free = bits - u32::from(prefix);
    // Shifting by all the bits there are is not defined; no fixed bit means every address.
    free >= 128 || address >> free == network >> free
}

/// A place the guard keeps us from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Neither http nor https.
    #[error("addresses that begin with {0}: are not fetched")]
    Scheme(String),
    /// An address of a class that is closed.
    #[error("{host} is {class}, which the settings do not allow")]
    Address {
        /// Host as the URL writes it.
        host: String,
        /// Class of what it resolves to.
        class: AddressClass,
    },
}

/// The guard: which addresses may be connected to.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// Whether this machine and private and shared networks are open to all. Metadata stays closed.
    pub allow_private: bool,
    /// Exceptions.
    pub allowed: Vec<Allowed>,
}

impl Guard {
    /// Whether an address may be connected to, reached by this host name if by any.
    ///
    /// # Errors
    /// [`Forbidden::Address`] with its class.
    pub fn check(&self, host: Option<&str>, address: IpAddr) -> Result<(), Forbidden> {
        // A connection to a mapped address is one to the address within: exceptions are stated for that one.
        let address = address.to_canonical();
        let class = class_of(address);
        let open = class == AddressClass::Public
            || (self.allow_private && is_ordinary(class))
            || self.allowed.iter().any(|allowed| allowed.covers(host, address, class));
        let host = || host.map_or_else(|| address.to_string(), str::to_owned);
        if open { Ok(()) } else { Err(Forbidden::Address { host: host(), class }) }
    }

    /// Whether a URL may be asked at all: its scheme, and its host if that is an address.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn admit(&self, url: &Url) -> Result<(), Forbidden> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Forbidden::Scheme(url.scheme().to_owned()));
        }
        match url.host() {
            Some(Host::Ipv4(address)) => self.check(None, address.into()),
            Some(Host::Ipv6(address)) => self.check(None, address.into()),
            // A name is checked when it is resolved.
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }
}

/// Resolves names for connections and leaves out what the guard forbids.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    guard: Arc<Guard>,
}

impl Resolver {
    pub(crate) fn new(guard: Arc<Guard>) -> Resolver {
        Resolver { guard }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.guard);
        Box::pin(async move {
            let resolved: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let open = permitted(&guard, name.as_str(), resolved)?;
            Ok(Box::new(open.into_iter()) as Addrs)
        })
    }
}

/// The addresses of a name that may be connected to; the first refusal when there is none.
fn permitted(
    guard: &Guard,
    name: &str,
    resolved: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, Forbidden> {
    let mut refused = None;
    let mut open = Vec::with_capacity(resolved.len());
    for address in resolved {
        match guard.check(Some(name), address.ip()) {
            Ok(()) => open.push(address),
            Err(forbidden) => refused = refused.or(Some(forbidden)),
        }
    }
    match refused {
        Some(forbidden) if open.is_empty() => Err(forbidden),
        _ => Ok(open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> AddressClass {
        class_of(text.parse().unwrap())
    }

    #[test]
    fn every_special_range_has_its_class_from_first_to_last_address() {
        use AddressClass::{
            CarrierNat, LinkLocal, Loopback, Metadata, Multicast, Private, Reserved, Unspecified,
        };
        let ranges = [
            ("0.0.0.0", "0.255.255.255", Unspecified),
            ("10.0.0.0", "10.255.255.255", Private),
            ("100.64.0.0", "100.127.255.255", CarrierNat),
            ("127.0.0.0", "127.255.255.255", Loopback),
            ("169.254.0.0", "169.254.255.255", LinkLocal),
            ("172.16.0.0", "172.31.255.255", Private),
            ("192.0.0.0", "192.0.0.255", Reserved),
            ("192.0.2.0", "192.0.2.255", Reserved),
            ("192.88.99.0", "192.88.99.255", Reserved),
            ("192.168.0.0", "192.168.255.255", Private),
            ("198.18.0.0", "198.19.255.255", Reserved),
            ("198.51.100.0", "198.51.100.255", Reserved),
            ("203.0.113.0", "203.0.113.255", Reserved),
            ("224.0.0.0", "239.255.255.255", Multicast),
            ("240.0.0.0", "255.255.255.255", Reserved),
            ("fc00::", "fcff:ffff::1", Private),
            ("fd00:ec2::", "fd00:ec2:ffff::ffff", Metadata),
            ("fd00:ec3::", "fdff:ffff::1", Private),
            ("fe80::", "febf:ffff::1", LinkLocal),
            ("fec0::", "feff:ffff::1", Private),
            ("ff00::", "ffff:ffff::1", Multicast),
            ("2001::", "2001:1ff:ffff::", Reserved),
            ("2001:db8::", "2001:db8:ffff::1", Reserved),
            ("3fff::", "3fff:fff:ffff::1", Reserved),
            ("::2", "::ffff", Reserved),
            ("100::", "1fff::1", Reserved),
            ("4000::", "fbff::1", Reserved),
            ("64:ff9b:1::", "64:ff9b:1:ffff::1", Reserved),
        ];
        for (first, last, expected) in ranges {
            assert_eq!(class(first), expected, "{first}");
            assert_eq!(class(last), expected, "{last}");
        }
        assert_eq!(class("::"), Unspecified);
        assert_eq!(class("::1"), Loopback);
    }

    #[test]
    fn neighbours_of_special_ranges_are_public() {
        for text in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "8.8.8.8",
            "2001:200::",
            "2001:db7:ffff::",
            "2001:db9::",
            "2606:4700::1111",
            "2000::",
            "3ffe::1",
        ] {
            assert_eq!(class(text), AddressClass::Public, "{text}");
        }
    }

    #[test]
    fn an_address_that_carries_another_has_the_class_of_that_one() {
        for inner in
            ["127.0.0.1", "10.1.2.3", "169.254.169.254", "100.64.0.1", "8.8.8.8", "0.0.0.0"]
        {
            let v4: Ipv4Addr = inner.parse().unwrap();
            let [a, b, c, d] = v4.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            for outer in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                assert_eq!(class_of(outer.into()), class(inner), "{outer}");
            }
        }
        // The deprecated compatible form is nobody's any more.
        assert_eq!(class("::10.1.2.3"), AddressClass::Reserved);
    }

    #[test]
    fn odd_ways_to_write_an_address_are_seen_through() {
        let guard = Guard::default();
        for text in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://017700000001/",
            "http://0/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:a00:1]/",
            "http://169.254.169.254/latest/meta-data",
            "http://169.254.170.2/v2/credentials",
            "http://[fd00:ec2::254]/",
            "http://user:secret@10.0.0.1:8080/",
            "http://１２７.０.０.１/",
            "https://192.168.1.1/",
            "http://[64:ff9b::7f00:1]/",
            "http://255.255.255.255/",
        ] {
            let refused = guard.admit(&Url::parse(text).unwrap()).unwrap_err();
            assert!(matches!(refused, Forbidden::Address { .. }), "{text}: {refused}");
            assert!(!refused.to_string().contains("secret"));
        }
        for text in ["http://example.com/", "https://8.8.8.8/", "https://[2606:4700::1111]/"] {
            assert_eq!(guard.admit(&Url::parse(text).unwrap()), Ok(()), "{text}");
        }
        for text in ["file:///etc/passwd", "ftp://example.com/", "gopher://127.0.0.1/", "data:,x"] {
            let refused = guard.admit(&Url::parse(text).unwrap()).unwrap_err();
            assert!(matches!(refused, Forbidden::Scheme(_)), "{text}");
        }
    }

    #[test]
    fn private_networks_can_be_opened_and_metadata_stays_closed() {
        let guard = Guard { allow_private: true, allowed: Vec::new() };
        let check = |text: &str| guard.check(None, text.parse().unwrap()).is_ok();
        assert!(["127.0.0.1", "10.0.0.1", "fc00::1", "100.64.0.1", "::1"].into_iter().all(check));
        for closed in
            ["169.254.169.254", "fe80::1", "fd00:ec2::254", "0.0.0.0", "224.0.0.1", "240.0.0.1"]
        {
            assert!(!check(closed), "{closed}");
        }
    }

    #[test]
    fn an_allowed_host_opens_its_ordinary_addresses_and_no_other_hosts() {
        let guard =
            Guard { allow_private: false, allowed: vec!["Intranet.Example".parse().unwrap()] };
        let check = |host: &str, text: &str| guard.check(Some(host), text.parse().unwrap()).is_ok();
        assert!(check("intranet.example", "10.0.0.1"));
        assert!(check("intranet.example", "127.0.0.1"));
        assert!(!check("intranet.example", "169.254.169.254"));
        assert!(!check("other.example", "10.0.0.1"));
        assert!(!check("sub.intranet.example", "10.0.0.1"));
        assert!(check("other.example", "9.9.9.9"));
    }

    #[test]
    fn an_allowed_network_opens_its_addresses_whatever_their_class() {
        let open = |network: &str, address: &str| {
            let guard = Guard { allow_private: false, allowed: vec![network.parse().unwrap()] };
            guard.check(None, address.parse().unwrap()).is_ok()
        };
        assert!(open("10.1.0.0/16", "10.1.255.255") && !open("10.1.0.0/16", "10.2.0.0"));
        assert!(open("127.0.0.1", "127.0.0.1") && !open("127.0.0.1", "127.0.0.2"));
        assert!(open("127.0.0.1", "::ffff:127.0.0.1"));
        assert!(open("0.0.0.0/0", "169.254.169.254") && !open("0.0.0.0/0", "::1"));
        assert!(
            open("::/0", "fe80::1") && open("fd12::/16", "fd12::9") && !open("fd12::/16", "fd13::")
        );
        assert!(open("169.254.169.254/32", "169.254.169.254"));
    }

    #[test]
    fn an_exception_that_is_neither_host_nor_network_is_an_error() {
        for text in ["10.0.0.0/33", "::/129", "10.0.0.0/x", "example.com/8", "a b", ""] {
            assert!(text.parse::<Allowed>().is_err(), "{text}");
        }
        assert_eq!("bücher.example".parse(), Ok(Allowed::Host("xn--bcher-kva.example".into())));
    }

    #[test]
    fn of_a_names_addresses_only_the_permitted_are_left_and_none_is_a_refusal() {
        let guard = Guard::default();
        let of = |texts: &[&str]| {
            let addresses = texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0));
            permitted(&guard, "x.example", addresses.collect())
        };
        assert_eq!(of(&["10.0.0.1", "8.8.8.8", "::1"]).unwrap().len(), 1);
        let refused = of(&["10.0.0.1", "::1"]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "x.example is a private address, which the settings do not allow"
        );
        assert_eq!(of(&[]), Ok(Vec::new()));
    }
}
