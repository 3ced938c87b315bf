//! The command line against a running Tidelog, as a process.

use crate::support::desk::{Desk, records};
use crate::support::process::command;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

/// The program with the account's credentials in its environment.
fn account_command(desk: &Desk, dir: &Path) -> Command {
    let ready = &desk.tidelog.ready;
    let mut command = command(dir);
    command.env("TIDELOG_URL", &ready.http);
    command.env("TIDELOG_USERNAME", &ready.username).env("TIDELOG_PASSWORD", &ready.password);
    command
}

/// Runs a command of the account.
fn run(desk: &Desk, dir: &Path, arguments: &[&str]) -> Output {
    account_command(desk, dir).args(arguments).output().unwrap()
}

/// What a command that succeeds prints.
fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn syncs_are_made_listed_changed_and_deleted_by_command() {
    let (desk, dir) = (Desk::new(), tempfile::tempdir().unwrap());
    let tidelog = |arguments: &[&str]| run(&desk, dir.path(), arguments);
    let made =
        ["sync", "create", "crm", "--provider", "salesforce", "--collection", "contact=people"];
    let told = stdout(&tidelog(&made));
    assert!(told.contains("sequin.crm.contact") && told.contains("people"), "{told}");
    let again = tidelog(&["sync", "create", "crm", "--naming", "snake_case"]);
    assert_eq!(again.status.code(), Some(1));
    let told = String::from_utf8(again.stderr).unwrap();
    assert!(told.contains("sync 'crm' exists already: change it"), "{told}");
    let own = stdout(&tidelog(&["sync", "create", "--name", "x", "--output", "json"]));
    let own: Value = serde_json::from_str(&own).unwrap();
    let listed = stdout(&tidelog(&["sync", "list"]));
    assert!(listed.contains("salesforce") && listed.contains(own["id"].as_str().unwrap()));
    stdout(&tidelog(&["sync", "update", "crm", "--naming", "snake_case"]));
    let described = stdout(&tidelog(&["sync", "describe", "crm", "--output", "json"]));
    let described: Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["naming"], "snake_case");
    assert_eq!(described["provider"], "salesforce");
    assert_eq!(described["collections"]["contact"]["table"], "people");
    let deleted = stdout(&tidelog(&["sync", "delete", "crm", "--topics"]));
    assert!(deleted.contains("sequin.crm.contact is deleted"), "{deleted}");
    let gone = tidelog(&["sync", "describe", "crm"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8(gone.stderr).unwrap().contains("sync 'crm' does not exist"));
}

#[test]
fn state_is_compared_with_the_log_and_published_anew_by_command() {
    let (desk, dir) = (Desk::new(), tempfile::tempdir().unwrap());
    let tidelog = |arguments: &[&str]| run(&desk, dir.path(), arguments);
    desk.put_sync("crm", json!({"collections": {"contact": {"partitions": 3}}}));
    for id in 0..5 {
        desk.put(&format!("crm/contact/{id}"), json!({"LastName": id}));
    }
    let compared = stdout(&tidelog(&["sync", "verify", "crm"]));
    assert_eq!(compared, "5 records and 5 events compared, 0 differ\n");
    let mapping = r#"{"collections":{"contact":{"naming":"snake_case"}}}"#;
    desk.http.patch("/v1/syncs/crm", mapping).json();
    let backfill = ["sync", "backfill", "crm", "--collection", "contact", "--output", "json"];
    let done: Value = serde_json::from_str(&stdout(&tidelog(&backfill))).unwrap();
    assert_eq!((&done["state"], &done["published"]), (&json!("done"), &json!(5)));
    let last = desk.values("sequin.crm.contact").pop().unwrap();
    assert_eq!((&last["event"], &last["table_db_name"]), (&json!("updated"), &json!("contact")));
    assert_eq!(last["data"].as_object().unwrap().keys().collect::<Vec<_>>(), ["last_name"]);
    let verify = ["sync", "verify", "crm", "--collection", "contact", "--output", "json"];
    let compared: Value = serde_json::from_str(&stdout(&tidelog(&verify))).unwrap();
    let want =
        json!({"collections": 1, "events": 10, "records": 5, "unverified": 0, "differences": 0});
    assert_eq!(compared, json!({"summary": want, "differences": []}));
    let unknown = tidelog(&["sync", "verify", "crm", "--collection", "contcat"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("it has contact"));
}

#[test]
fn a_file_is_ingested_refused_lines_are_told_and_a_run_goes_on_where_one_stopped() {
    let (desk, dir) = (Desk::new(), tempfile::tempdir().unwrap());
    desk.put_sync("crm", json!({}));
    let lines: Vec<_> = (0..1200).map(|it| json!({"id": it, "n": it}).to_string()).collect();
    let file = dir.path().join("records.ndjson");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let path = file.to_str().unwrap();
    let ingest = ["ingest", path, "--sync", "crm", "--collection", "contact", "--output", "json"];
    let done = |output: &Output| serde_json::from_str::<Value>(&stdout(output)).unwrap();
    let first = done(&run(&desk, dir.path(), &ingest));
    let want = json!({"lines": 1200, "records": 1200, "events": 1200, "refused": 0});
    assert_eq!(first, want);
    assert_eq!(desk.values("sequin.crm.contact").len(), 1200);

    // An earlier run came to here, and sent the next chunk without hearing of it.
    let lines: Vec<_> = (0..1200).map(|it| json!({"id": it, "n": -it}).to_string()).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let bytes = lines[..1000].iter().map(|line| line.len() + 1).sum::<usize>();
    let mut counts = json!({"bytes": bytes, "lines": 1000, "records": 1000, "events": 0});
    (counts["run"], counts["refused"]) = (json!("run_1"), json!(0));
    let digest = Sha256::digest(&std::fs::read(&file).unwrap()[..bytes]);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let ready = &desk.tidelog.ready;
    let kept_of = |url: &str| {
        let target = json!([[url, ready.username], "crm", "contact", "upsert", "id"]).to_string();
        json!({"target": target, "progress": counts, "digest": digest}).to_string()
    };
    let kept = kept_of(&ready.http);
    let kept_at = dir.path().join("records.ndjson.tidelog-ingest");
    for _ in 0..2 {
        std::fs::write(&kept_at, &kept).unwrap();
        let second = run(&desk, dir.path(), &ingest);
        assert!(String::from_utf8_lossy(&second.stderr).contains("after line 1000"));
        // The second time the chunk is answered as it was the first, and publishes nothing.
        let want = json!({"lines": 1200, "records": 1200, "events": 200, "refused": 0});
        assert_eq!(done(&second), want);
        assert_eq!(desk.values("sequin.crm.contact").len(), 1400);
        assert!(!kept_at.exists());
    }

    // What was sent elsewhere is not here.
    std::fs::write(&kept_at, kept_of("https://staging.example")).unwrap();
    let elsewhere = run(&desk, dir.path(), &ingest);
    // All but the one that has no other value now.
    assert_eq!(done(&elsewhere)["events"], 999);

    // Another file of the same length is in its place.
    std::fs::write(&kept_at, &kept).unwrap();
    let others: Vec<_> = (0..1200).map(|it| json!({"id": it, "m": -it}).to_string()).collect();
    std::fs::write(&file, others.join("\n")).unwrap();
    let whole = run(&desk, dir.path(), &ingest);
    assert!(String::from_utf8_lossy(&whole.stderr).contains("beginning at its first line"));
    assert_eq!(done(&whole), json!({"lines": 1200, "records": 1200, "events": 1200, "refused": 0}));

    std::fs::write(&file, "{\"id\":1,\"n\":2}\n{\"n\":1}\nnope\n").unwrap();
    let third = run(&desk, dir.path(), &ingest);
    assert_eq!(third.status.code(), Some(1));
    let told = String::from_utf8(third.stderr).unwrap();
    for part in ["line 2: there is no field 'id'", "line 3: expected a JSON object", "2 of 3 lines"]
    {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(desk.values("sequin.crm.contact").len(), 3600);
}

#[test]
fn what_an_earlier_run_sent_is_applied_again() {
    let (desk, dir) = (Desk::new(), tempfile::tempdir().unwrap());
    desk.put_sync("crm", json!({}));
    let file = dir.path().join("flag.ndjson");
    let ingest = ["ingest", file.to_str().unwrap(), "--sync", "crm", "--collection", "flag"];
    let events = |more: &[&str]| stdout(&run(&desk, dir.path(), &[&ingest, more].concat()));
    for value in ["on", "off", "on"] {
        std::fs::write(&file, json!({"id": 1, "v": value}).to_string()).unwrap();
        assert_eq!(events(&[]), "1 records, 1 events, 0 lines refused\n");
    }
    assert_eq!(desk.values("sequin.crm.flag").pop().unwrap()["data"]["v"], "on");
    desk.http.delete(&records("crm/flag/1")).json();
    assert_eq!(events(&["--restart"]), "1 records, 1 events, 0 lines refused\n");
    assert_eq!(desk.values("sequin.crm.flag").len(), 5);
}

/// Where every request is answered so, whatever it asks.
fn answering(status: &'static str, kind: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while stream.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\nconnection: close");
            write!(stream.get_mut(), "{head}\r\n\r\n{body}").unwrap();
        }
    });
    url
}

#[test]
fn what_no_broker_would_answer_is_no_success() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.ndjson"), "{\"id\":1}\n{\"id\":2}\n").unwrap();
    let ingest = "ingest a.ndjson --sync crm --collection contact";
    let foreign = "is this Tidelog?";
    let html = ("200 OK", "text/html", "<html>\n</html>\n");
    let table = [
        (ingest, html, foreign),
        ("sync list", html, foreign),
        ("sync verify crm", html, foreign),
        ("sync delete crm", html, foreign),
        ("account create a --admin-token t", html, foreign),
        (ingest, ("200 OK", "application/json", "{}"), foreign),
        (ingest, ("200 OK", "application/json", r#"{"results":[{}]}"#), "answer is of 1 lines"),
        ("sync list", ("200 OK", "application/json", "{}"), foreign),
        ("account create a --admin-token t", ("200 OK", "application/json", "{}"), foreign),
        ("sync list", ("200 OK", "application/json", r#"{"a":1}"#), r#"would: '{"a":1}'; is"#),
        ("sync list", ("200 OK", "text/html", ""), "would: nothing; is"),
        ("sync create crm", ("200 OK", "application/json", "{}"), foreign),
        ("sync create", ("200 OK", "application/json", "[]"), foreign),
        ("sync describe crm", ("200 OK", "application/json", "{}"), foreign),
        ("sync describe crm", ("200 OK", "application/json", "[]"), foreign),
        ("sync update crm", ("200 OK", "application/json", "true"), foreign),
        ("sync delete crm", ("200 OK", "application/json", r#"{"status":"ok"}"#), foreign),
        ("sync verify crm", ("200 OK", "application/json", "[]\n"), foreign),
        ("sync backfill crm --collection a", ("200 OK", "application/json", "{}"), foreign),
        ("sync list", ("400 Bad Request", "text/html", "<html>"), "answered 400 Bad Request\n"),
        (
            ingest,
            ("409 Conflict", "application/json", r#"{"error":"no","code":"conflict"}"#),
            "no\n",
        ),
        ("sync list --url http://127.0.0.1:1", html, "127.0.0.1:1 (Connection refused (os error"),
    ];
    for (arguments, (status, kind, body), want) in table {
        let mut command = command(dir.path());
        command.env("TIDELOG_URL", answering(status, kind, body));
        command.env("TIDELOG_USERNAME", "a").env("TIDELOG_PASSWORD", "b");
        let output = command.args(arguments.split(' ')).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments} {body}: {output:?}");
        assert!(output.stdout.is_empty(), "{arguments} {body}: {output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(want), "{arguments} {body}: {told}");
        assert!(!told.contains("trying again"), "{arguments} {body}: {told}");
    }
    for url in ["localhost:8080", "ftp://localhost", "http://", "nonsense"] {
        let output = command(dir.path()).args(["sync", "list", "--url", url]).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("expected an address such as http://127.0.0.1:8080"), "{told}");
    }
    // What was not done is still to be done.
    assert!(dir.path().join("a.ndjson.tidelog-ingest").exists());
}

#[test]
fn whoever_closes_the_pipe_has_read_enough() {
    let (desk, dir) = (Desk::new(), tempfile::tempdir().unwrap());
    desk.put_sync("crm", json!({}));
    desk.put("crm/contact/1", json!({"a": 1}));
    std::fs::write(dir.path().join("a.ndjson"), "{\"id\":1}\n").unwrap();
    let closed = || Stdio::from(std::io::pipe().unwrap().1);
    let of = |arguments: &str| {
        let mut command = account_command(&desk, dir.path());
        command.env("TIDELOG_ADMIN_TOKEN", &desk.tidelog.ready.admin_token);
        command.args(arguments.split(' '));
        command
    };
    for arguments in [
        "sync list",
        "sync list --output json",
        "sync describe crm",
        "sync verify crm",
        "sync verify crm --output json",
        "sync backfill crm --collection contact",
        "ingest a.ndjson --sync crm --collection contact",
        "ingest a.ndjson --sync crm --collection contact --output json",
        "account create acme",
        "credential create acme --output json",
        "sync delete crm",
    ] {
        let ended = of(arguments).stdout(closed()).output().unwrap();
        assert_eq!(ended.status.code(), Some(141), "{arguments}: {ended:?}");
        assert!(ended.stderr.is_empty(), "{arguments}: {ended:?}");
    }
    let full = std::fs::File::create("/dev/full").unwrap();
    let ended = of("sync list").stdout(full).output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(told.contains("cannot write to standard output: No space left"), "{told}");
    // Nor does it matter that nobody reads what went wrong.
    let ended = of("sync describe nope").stderr(closed()).status().unwrap();
    assert_eq!(ended.code(), Some(1));
}

#[test]
fn the_kafka_port_says_where_http_is_and_a_name_goes_as_it_is() {
    let (desk, dir) = (Desk::new(), tempfile::tempdir().unwrap());
    let kafka = format!("http://{}", desk.tidelog.ready.kafka);
    let told = run(&desk, dir.path(), &["sync", "list", "--url", &kafka]);
    let told = String::from_utf8(told.stderr).unwrap();
    let want = format!("HTTP is at {}", desk.tidelog.ready.http);
    assert!(told.contains("400 Bad Request") && told.contains(&want), "{told}");

    let token = ["--admin-token", &desk.tidelog.ready.admin_token];
    for name in ["beta?", "a#b", "a/b", "a%"] {
        let refused =
            run(&desk, dir.path(), &[&["credential", "create", name], &token[..]].concat());
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(told.contains(&format!("account '{name}' does not exist")), "{told}");
    }
}
