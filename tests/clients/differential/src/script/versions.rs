//! ApiVersions, and requests in versions and of APIs that nobody speaks.

use super::*;
use crate::peer::software;

pub(super) fn ask(peer: &mut Peer) {
    peer.each("all", |_| software());
    for (what, name, version) in
        [("no name", "", "1"), ("a bad name", "-client", "1"), ("a bad version", "client", "1/2")]
    {
        let (name, version) = (Str::from(name), Str::from(version));
        let request = ApiVersionsRequest {
            client_software_name: name,
            client_software_version: version,
            ..Default::default()
        };
        peer.newly(what, request);
    }
    for (what, cluster_id, node_id) in [
        ("of another cluster", Some("another"), 1),
        ("of another cluster and any node", Some("another"), -1),
        ("of no cluster and node 1", None, 1),
        ("of no cluster and node 7", None, 7),
    ] {
        let cluster_id = cluster_id.map(Str::from);
        peer.newly(what, ApiVersionsRequest { cluster_id, node_id, ..software() });
    }
    let versions = ApiKey::ApiVersions as i16;
    for unknown in [6, 99, i16::MAX, -1] {
        let what = format!("version {unknown}");
        peer.pretend(&what, versions, unknown, (ApiKey::ApiVersions, 0));
    }
    for (what, key, version) in [
        ("Metadata of the future", 3, 99),
        ("Metadata before its first", 3, -1),
        ("Fetch of the past", 1, 3),
        ("Produce of the past", 0, 2),
        ("an API between brokers", 6, 0),
        ("an API there is not", 999, 0),
        ("a negative API", -1, 0),
    ] {
        peer.pretend(what, key, version, (ApiKey::ApiVersions, 0));
    }
}
