use crate::support::kafka;
use crate::support::process::Tidelog;
use std::io::{Read, Write};
#[test]
fn capture() {
    let dir = tempfile::tempdir().unwrap();
    let t = Tidelog::dev(dir.path());
    let l = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let a = l.local_addr().unwrap().to_string();
    let up = t.ready.kafka.clone();
    std::thread::spawn(move || {
        for c in l.incoming() {
            let mut c = c.unwrap();
            let mut s = std::net::TcpStream::connect(&up).unwrap();
            let (mut c2, mut s2) = (c.try_clone().unwrap(), s.try_clone().unwrap());
            std::thread::spawn(move || { let mut b = [0; 4096]; while let Ok(n) = c.read(&mut b) { if n == 0 { break } println!("C {:02x?}", &b[..n]); s.write_all(&b[..n]).unwrap(); } });
            std::thread::spawn(move || { let mut b = [0; 4096]; while let Ok(n) = s2.read(&mut b) { if n == 0 { break } c2.write_all(&b[..n]).unwrap(); } });
        }
    });
    let config = kafka::anonymous(&a);
    let c: rdkafka::consumer::BaseConsumer = config.create().unwrap();
    use rdkafka::consumer::Consumer;
    println!("{:?}", c.fetch_metadata(None, std::time::Duration::from_secs(3)).map(|_| ()));
    println!("{:?}", c.fetch_metadata(Some("abc"), std::time::Duration::from_secs(3)).map(|_| ()));
}
