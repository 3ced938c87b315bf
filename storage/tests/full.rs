//! A file system that is really full: a tmpfs of a few MiB, mounted in a namespace of its own.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{TryRecvError, channel};

use tidelog_storage::fs::{Disk, Fs};
use tidelog_storage::{Event, Flush, PartitionOptions};

use crate::support::{Random, batch, open, open_volume, payloads, read_all};

const DIR_VARIABLE: &str = "TIDELOG_FULL_TEST_DIR";
const OPTIONS: PartitionOptions = PartitionOptions {
    segment_bytes: 256 << 10,
    index_interval_bytes: 1000,
    ..PartitionOptions::DEFAULT
};

/// Does the work of the test below, in a process that has the mount.
#[test]
fn the_process_on_the_full_disk() {
    let Some(root) = std::env::var_os(DIR_VARIABLE) else { return };
    let root = Path::new(&root);
    let ballast = root.join("ballast");
    let mut random = Random::new(1);
    let mut written = Vec::new();
    for (round, ballast_kib) in [1400, 1000, 600, 200].into_iter().enumerate() {
        let volume = open_volume(Arc::new(Disk), root, Flush::Manual);
        let (told, events) = channel();
        volume.on_event(Box::new(move |event| told.send(event.clone()).unwrap()));
        let (partition, recovered) = open(&volume, OPTIONS);
        assert_eq!(recovered.repairs, [], "round {round}");
        assert_eq!(payloads(&read_all(&partition, 0)), written, "round {round}");
        std::fs::write(&ballast, vec![1; ballast_kib << 10]).unwrap();
        let mut refusals = 0;
        while refusals < 5 {
            let len = 1 + random.below(20_000) as usize;
            let sent = batch(1, written.len() as i64, &random.bytes(len));
            match partition.append(&sent, 0) {
                Ok(appended) => {
                    assert_eq!(appended.base_offset, written.len() as i64);
                    written.push(sent.payload());
                }
                Err(error) if error.is_disk_full() => {
                    assert!(error.to_string().contains(&*root.to_string_lossy()), "{error}");
                    refusals += 1;
                }
                Err(error) => panic!("{error}"),
            }
            if random.below(4) == 0 {
                volume.sync().unwrap();
            }
        }
        volume.sync().unwrap();
        assert_eq!(payloads(&read_all(&partition, 0)), written, "reads go on");
        // Told once, and what else is on the volume has its margin.
        let Ok(Event::Full(room)) = events.try_recv() else { panic!("nothing was told") };
        assert!(room.root == root && room.margin_bytes >= 60_000, "{room:?}");
        assert!(Disk.space(root).unwrap().usable_bytes >= room.margin_bytes - 20_000, "{room:?}");
        assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
        std::fs::write(root.join("other"), vec![1; 30_000]).unwrap();
        volume.check_spare().expect("what records leave is for the stores beside them");
        // Another program takes that too: they are refused before they meet the end.
        let mut other = std::fs::File::create(root.join("other")).unwrap();
        while other.write(&[1; 4096]).is_ok_and(|written| written > 0) {}
        assert!(volume.check_spare().unwrap_err().is_disk_full());
        partition.check_spare().unwrap_err();
        drop(other);
        std::fs::remove_file(root.join("other")).unwrap();
        volume.check_spare().unwrap();
        std::fs::remove_file(&ballast).unwrap();
        for _ in 0..5 {
            let sent = batch(1, 0, &random.bytes(500));
            partition.append(&sent, 0).expect("appends go on when there is space");
            written.push(sent.payload());
        }
        volume.sync().unwrap();
        assert_eq!(payloads(&read_all(&partition, 0)), written);
        // What was reserved may do for a while; then there is room, and that is told once.
        while let Err(TryRecvError::Empty) = events.try_recv() {
            let sent = batch(1, 0, &random.bytes(5000));
            partition.append(&sent, 0).unwrap();
            written.push(sent.payload());
        }
        assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
        volume.sync().unwrap();
        // Left as a crash leaves it, or closed.
        if round % 2 == 0 {
            volume.close().unwrap();
        }
    }
    println!("met a full disk four times");
}

#[test]
fn a_full_file_system_refuses_appends_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=6m tidelog \"$1\" || exit 77; exec \"$2\" --exact \
                  full::the_process_on_the_full_disk --nocapture";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    command.arg(dir.path()).arg(std::env::current_exe().unwrap()).env(DIR_VARIABLE, dir.path());
    let output = match command.output() {
        Ok(output) if output.status.code() != Some(77) => output,
        // Not everyone may mount; the faulty file system has its full disk for all.
        refused => return println!("skipped: no tmpfs may be mounted here: {refused:?}"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("met a full disk four times"), "{text}{errors}");
}
