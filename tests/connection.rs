//! `GET /v1/connection`: clients are told addresses at which they find what they look for.

use crate::support::http::Http;
use crate::support::process::Tidelog;
use reqwest::Method;

#[test]
fn a_client_is_told_to_go_on_by_the_name_it_came_by() {
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev_at(dir.path(), "0.0.0.0:0", "0.0.0.0:0");
    let http = Http::dev(&tidelog.ready);
    let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
    let (kafka, web) = (port(&tidelog.ready.kafka), port(&tidelog.ready.http));
    let told = |host: &str| {
        let path = "/v1/connection";
        let answer = http.try_send(Method::GET, path, &[("host", host)], String::new()).unwrap();
        let connection = answer.json();
        let text = |of: &str, name: &str| connection[of][name].as_str().unwrap().to_owned();
        (text("kafka", "bootstrap"), text("http", "url"))
    };
    let remote = told(&format!("192.0.2.2:{web}"));
    assert_eq!(remote, (format!("192.0.2.2:{kafka}"), format!("http://192.0.2.2:{web}")));
    // A page of ours never shows what only a browser would take for a name.
    let own = (tidelog.ready.kafka.clone(), tidelog.ready.http.clone());
    assert_eq!(told("a';id;'"), own);

    // Where Kafka clients must come to one address, they are told that one.
    let dir = tempfile::tempdir().unwrap();
    let tidelog = Tidelog::dev(dir.path());
    let http = Http::dev(&tidelog.ready);
    let answer = http.try_send(Method::GET, "/v1/connection", &[("host", "a.test")], String::new());
    let connection = answer.unwrap().json();
    assert_eq!(connection["kafka"]["bootstrap"], tidelog.ready.kafka.as_str());
    assert_eq!(connection["http"]["url"], "http://a.test");
}
