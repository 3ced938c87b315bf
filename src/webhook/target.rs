//! Which URLs and addresses a webhook may call, so that nobody makes this process call for them
//! what only it can reach (server-side request forgery).
//!
//! [`Policy::check_url`] refuses what the text already shows. **A name is safe only once it is
//! resolved**: the driver must ask [`Policy::check_address`] for every address a name resolves to,
//! and connect to the address it asked about, with no second lookup and no redirects.
//!
//! Addresses are refused by range. Of IPv6 only global unicast (`2000::/3`) is ever public, and
//! ranges that carry an IPv4 address inside (NAT64, 6to4, Teredo) are refused whole.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// What a webhook may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Allow loopback, private and shared addresses, and any port. For `dev`.
    pub allow_private: bool,
    /// Refuse plain HTTP.
    pub https_only: bool,
}

/// Why a URL or an address is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("expected a URL such as \"https://example.com/hook\": {0}")]
    Invalid(String),
    #[error("expected a URL of at most {URL_BYTES_MAX} bytes, found {0}")]
    Long(usize),
    #[error("expected {expected}, found a URL with {found:?}")]
    Scheme { expected: &'static str, found: String },
    #[error(
        "expected a URL without user name and password: the signature of each request says who sends it"
    )]
    UserInfo,
    #[error("expected port 443 or 8443 (80 or 8080 for plain http), found {0}")]
    Port(u16),
    #[error("expected a public host name, found {0:?}")]
    Local(String),
    #[error("expected a public address, found {address} ({range})")]
    Address { address: IpAddr, range: &'static str },
}

const URL_BYTES_MAX: usize = 2048;

impl Policy {
    /// Reads a webhook's URL and refuses it if its text already shows that it may not be called.
    pub fn check_url(self, text: &str) -> Result<Url, Error> {
        if text.len() > URL_BYTES_MAX {
            return Err(Error::Long(text.len()));
        }
        let url = Url::parse(text).map_err(|error| Error::Invalid(error.to_string()))?;
        self.check_scheme(&url)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::UserInfo);
        }
        match url.host() {
            Some(Host::Ipv4(address)) => self.check_address(address.into())?,
            Some(Host::Ipv6(address)) => self.check_address(address.into())?,
            Some(Host::Domain(name)) => self.check_name(name)?,
            None => return Err(Error::Invalid("it has no host".to_owned())),
        }
        self.check_port(&url)?;
        Ok(url)
    }

    /// Refuses an address that may not be connected to.
    pub fn check_address(self, address: IpAddr) -> Result<(), Error> {
        let canonical = address.to_canonical();
        match range_of(canonical) {
            Some(range) if !(self.allow_private && range.private) => {
                Err(Error::Address { address: canonical, range: range.name })
            }
            _ => Ok(()),
        }
    }

    fn check_scheme(self, url: &Url) -> Result<(), Error> {
        match (url.scheme(), self.https_only) {
            ("https", _) | ("http", false) => Ok(()),
            (found, https_only) => Err(Error::Scheme {
                expected: if https_only { "\"https\"" } else { "\"https\" or \"http\"" },
                found: found.to_owned(),
            }),
        }
    }

    fn check_port(self, url: &Url) -> Result<(), Error> {
        match (url.port_or_known_default(), url.scheme()) {
            (Some(_), _) if self.allow_private => Ok(()),
            (Some(443 | 8443), _) | (Some(80 | 8080), "http") => Ok(()),
            (port, _) => Err(Error::Port(port.unwrap_or_default())),
        }
    }

    /// Refuses names that stand for this machine. Others are judged by what they resolve to.
    fn check_name(self, name: &str) -> Result<(), Error> {
        let bare = name.trim_end_matches('.');
        let local = bare == "localhost" || bare.ends_with(".localhost");
        if bare.is_empty() || (local && !self.allow_private) {
            return Err(Error::Local(name.to_owned()));
        }
        Ok(())
    }
}

/// Whether a production webhook may not connect to `address`.
pub fn is_denied(address: IpAddr) -> bool {
    range_of(address.to_canonical()).is_some()
}

/// A range of addresses that are not public; `private` ones are fair targets in `dev`.
struct Range<A> {
    first: A,
    prefix: u32,
    private: bool,
    name: &'static str,
}

/// What is denied about an address, without the range's type.
#[derive(Clone, Copy)]
struct Denied {
    private: bool,
    name: &'static str,
}

fn range_of(address: IpAddr) -> Option<Denied> {
    match address {
        IpAddr::V4(address) => V4.iter().find(|it| it.holds_v4(address)).map(Range::denied),
        IpAddr::V6(address) => {
            let listed = V6.iter().find(|it| it.holds_v6(address)).map(Range::denied);
            let global = address.segments()[0] >> 13 == 1;
            listed.or((!global).then_some(Denied { private: false, name: "not global unicast" }))
        }
    }
}

impl<A> Range<A> {
    fn denied(&self) -> Denied {
        Denied { private: self.private, name: self.name }
    }
}

impl Range<Ipv4Addr> {
    fn holds_v4(&self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.first.to_bits()) >> (32 - self.prefix) == 0
    }
}

impl Range<Ipv6Addr> {
    fn holds_v6(&self, address: Ipv6Addr) -> bool {
        (address.to_bits() ^ self.first.to_bits()) >> (128 - self.prefix) == 0
    }
}

const fn v4(first: [u8; 4], prefix: u32, private: bool, name: &'static str) -> Range<Ipv4Addr> {
    let [a, b, c, d] = first;
    Range { first: Ipv4Addr::new(a, b, c, d), prefix, private, name }
}

const fn v6(first: [u16; 2], prefix: u32, private: bool, name: &'static str) -> Range<Ipv6Addr> {
    let [a, b] = first;
    Range { first: Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix, private, name }
}

/// IANA's IPv4 special-purpose registry, multicast and class E included. All prefixes are above 0.
const V4: &[Range<Ipv4Addr>] = &[
    v4([0, 0, 0, 0], 8, false, "this network"),
    v4([10, 0, 0, 0], 8, true, "private"),
    v4([100, 64, 0, 0], 10, true, "shared by carriers"),
    v4([127, 0, 0, 0], 8, true, "loopback"),
    v4([169, 254, 0, 0], 16, false, "link-local"),
    v4([172, 16, 0, 0], 12, true, "private"),
    v4([192, 0, 0, 0], 24, false, "protocol assignments"),
    v4([192, 0, 2, 0], 24, false, "documentation"),
    v4([192, 88, 99, 0], 24, false, "6to4 relay"),
    v4([192, 168, 0, 0], 16, true, "private"),
    v4([198, 18, 0, 0], 15, false, "benchmarking"),
    v4([198, 51, 100, 0], 24, false, "documentation"),
    v4([203, 0, 113, 0], 24, false, "documentation"),
    v4([224, 0, 0, 0], 4, false, "multicast"),
    v4([240, 0, 0, 0], 4, false, "reserved"),
];

/// What is not public of IPv6 and deserves its name; the rest outside `2000::/3` goes without.
const V6: &[Range<Ipv6Addr>] = &[
    Range { first: Ipv6Addr::LOCALHOST, prefix: 128, private: true, name: "loopback" },
    Range { first: Ipv6Addr::UNSPECIFIED, prefix: 128, private: false, name: "unspecified" },
    v6([0x64, 0xff9b], 32, false, "NAT64"),
    v6([0x2001, 0], 23, false, "protocol assignments"),
    v6([0x2001, 0xdb8], 32, false, "documentation"),
    v6([0x2002, 0], 16, false, "6to4"),
    v6([0x3fff, 0], 20, false, "documentation"),
    v6([0xfc00, 0], 7, true, "private"),
    v6([0xfe80, 0], 10, false, "link-local"),
    v6([0xff00, 0], 8, false, "multicast"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCTION: Policy = Policy { allow_private: false, https_only: true };
    const DEV: Policy = Policy { allow_private: true, https_only: false };

    #[test]
    fn addresses_are_judged_by_range() {
        // The address, whether production may call it, whether dev may.
        let table = [
            ("1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0", true, true),
            ("126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0 172.15.255.255", true, true),
            ("172.32.0.0 192.0.1.0 192.0.3.0 192.167.255.255 192.169.0.0", true, true),
            ("198.17.255.255 198.20.0.0 223.255.255.255 203.0.114.0", true, true),
            ("10.0.0.0 10.255.255.255 127.0.0.1 127.255.255.255 172.16.0.1", false, true),
            ("172.31.255.255 192.168.0.1 192.168.255.255 100.64.0.1 100.127.255.255", false, true),
            ("0.0.0.0 0.1.2.3 169.254.169.254 169.254.0.0 192.0.0.1 192.0.2.1", false, false),
            ("192.88.99.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9", false, false),
            ("224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255", false, false),
            ("2606:4700::1111 2a00:1450::1 2001:200::1 2001:db7::1 2001:4860::8888", true, true),
            ("3fff:1000::1 2003::1", true, true),
            ("::1 fc00::1 fdff:ffff::1", false, true),
            (":: ::2 ::7f00:1 fe80::1 febf::1 fec0::1 ff02::1 4000::1 1fff::1", false, false),
            ("2001::1 2001:10::1 2001:1ff::1 2001:db8::1 2002:7f00:1:: 3fff:fff::1", false, false),
            ("64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 100::1 5f00::1", false, false),
            ("::ffff:8.8.8.8", true, true),
            ("::ffff:127.0.0.1 ::ffff:10.0.0.1", false, true),
            ("::ffff:169.254.169.254 ::ffff:0.0.0.0 ::ffff:0:127.0.0.1", false, false),
        ];
        let mut count = 0;
        for (addresses, production, dev) in table {
            for text in addresses.split(' ') {
                let address: IpAddr = text.parse().unwrap();
                assert_eq!(PRODUCTION.check_address(address).is_ok(), production, "{text}");
                assert_eq!(is_denied(address), !production, "{text}");
                assert_eq!(DEV.check_address(address).is_ok(), dev, "{text}");
                count += 1;
            }
        }
        assert!(count >= 60);
    }

    #[test]
    fn every_range_ends_where_its_prefix_does() {
        for range in V4 {
            let last = range.first.to_bits() | (u32::MAX >> range.prefix);
            for (bits, inside) in [(range.first.to_bits(), true), (last, true)] {
                assert_eq!(range.holds_v4(Ipv4Addr::from_bits(bits)), inside, "{}", range.name);
            }
            assert!(!range.holds_v4(Ipv4Addr::from_bits(last.wrapping_add(1))), "{}", range.name);
            assert_eq!(range.first.to_bits() & (u32::MAX >> range.prefix), 0, "{}", range.name);
        }
        for range in V6 {
            let low = u128::MAX.checked_shr(range.prefix).unwrap_or(0);
            assert_eq!(range.first.to_bits() & low, 0, "{}", range.name);
            let last = range.first.to_bits() | low;
            assert!(range.holds_v6(Ipv6Addr::from_bits(last)), "{}", range.name);
            assert!(!range.holds_v6(Ipv6Addr::from_bits(last.wrapping_add(1))), "{}", range.name);
        }
    }

    #[test]
    fn urls_are_refused_by_what_their_text_shows() {
        let table = [
            ("https://example.com/hook?x=1#y", ""),
            ("https://example.com:8443/", ""),
            ("https://EXAMPLE.com./", ""),
            ("https://bücher.example/", ""),
            ("https://93.184.215.14/", ""),
            ("https://[2606:4700::1111]/", ""),
            ("https://[::ffff:8.8.8.8]/", ""),
            ("https://localhost.example.com/", ""),
            ("http://example.com/", "expected \"https\", found a URL with \"http\""),
            ("ftp://example.com/", "expected \"https\", found a URL with \"ftp\""),
            ("file:///etc/passwd", "expected \"https\", found a URL with \"file\""),
            ("gopher://example.com/", "expected \"https\", found a URL with \"gopher\""),
            ("javascript:alert(1)", "expected \"https\", found a URL with \"javascript\""),
            ("example.com/hook", "expected a URL such as"),
            ("", "expected a URL such as"),
            ("https://", "expected a URL such as"),
            ("https://a b/", "expected a URL such as"),
            ("https://256.256.256.256/", "expected a URL such as"),
            ("https://user@example.com/", "expected a URL without user name"),
            ("https://:secret@example.com/", "expected a URL without user name"),
            ("https://example.com@127.0.0.1/", "expected a URL without user name"),
            ("https://example.com:80/", "expected port 443 or 8443"),
            ("https://example.com:22/", "expected port 443 or 8443"),
            ("https://example.com:0/", "expected port 443 or 8443"),
            ("https://localhost/", "expected a public host name"),
            ("https://LOCALHOST./", "expected a public host name"),
            ("https://api.localhost/", "expected a public host name"),
            ("https://ｌｏｃａｌｈｏｓｔ/", "expected a public host name"),
            ("https://127.0.0.1/", "expected a public address, found 127.0.0.1 (loopback)"),
            ("https://127.1/", "expected a public address, found 127.0.0.1 (loopback)"),
            ("https://2130706433/", "expected a public address, found 127.0.0.1 (loopback)"),
            ("https://0x7f000001/", "expected a public address, found 127.0.0.1 (loopback)"),
            ("https://0X7F.1/", "expected a public address, found 127.0.0.1 (loopback)"),
            ("https://0177.0.0.1/", "expected a public address, found 127.0.0.1 (loopback)"),
            ("https://127.0.0.1./", "expected a public address, found 127.0.0.1 (loopback)"),
            ("https://①②⑦.0.0.1/", "expected a public address, found 127.0.0.1 (loopback)"),
            ("https://127。0。0。1/", "expected a public address, found 127.0.0.1 (loopback)"),
            ("https://%31%32%37.0.0.1/", "expected a public address, found 127.0.0.1 (loopback)"),
            ("https:\\\\127.0.0.1\\", "expected a public address, found 127.0.0.1 (loopback)"),
            (
                "https://[::ffff:127.0.0.1]/",
                "expected a public address, found 127.0.0.1 (loopback)",
            ),
            ("https://[::1]/", "expected a public address, found ::1 (loopback)"),
            ("https://0/", "expected a public address, found 0.0.0.0 (this network)"),
            ("https://169.254.169.254/latest/", "expected a public address"),
            ("https://[64:ff9b::169.254.169.254]/", "expected a public address"),
        ];
        for (url, want) in table {
            let got = PRODUCTION.check_url(url).err().map(|it| it.to_string()).unwrap_or_default();
            assert!(got.starts_with(want) && got.is_empty() == want.is_empty(), "{url}: {got}");
        }
        let long = format!("https://example.com/{}", "x".repeat(URL_BYTES_MAX));
        assert_eq!(PRODUCTION.check_url(&long), Err(Error::Long(long.len())));
    }

    #[test]
    fn dev_calls_this_machine_and_nothing_stranger() {
        let table = [
            ("http://127.0.0.1:3000/hook", true),
            ("http://localhost:3000/", true),
            ("http://[::1]:1/", true),
            ("http://10.1.2.3/", true),
            ("https://example.com:9999/", true),
            ("http://169.254.169.254/", false),
            ("http://0.0.0.0:3000/", false),
            ("http://user@localhost/", false),
            ("unix:/run/docker.sock", false),
        ];
        for (url, want) in table {
            assert_eq!(DEV.check_url(url).is_ok(), want, "{url}");
        }
        let plain = Policy { allow_private: false, https_only: false };
        for (url, want) in [
            ("http://example.com/", true),
            ("http://example.com:8080/", true),
            ("https://example.com:8080/", false),
            ("http://127.0.0.1:8080/", false),
        ] {
            assert_eq!(plain.check_url(url).is_ok(), want, "{url}");
        }
    }
}
