//! Asks an Apache Kafka broker and Tidelog the same, at every version both speak, and compares the
//! answers field by field: `tidelog-differential KAFKA TIDELOG [PART...]`, two addresses. `run`
//! beside this crate starts the brokers.
//!
//! Every difference that [`allowed`] does not list is a failure, and so is an entry of the list
//! that nothing needs.

mod allowed;
mod clock;
mod compare;
mod peer;
mod script;
mod value;

use compare::Difference;
use peer::Peer;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kafka, tidelog, parts @ ..] = &arguments[..] else {
        eprintln!("usage: tidelog-differential KAFKA TIDELOG [PART...]");
        return ExitCode::from(2);
    };
    let (mut kafka, mut tidelog) = (Peer::new(kafka), Peer::new(tidelog));
    let theirs = kafka.spoken();
    let mut both = tidelog.spoken();
    both.retain(|key, _| theirs.contains_key(key));
    for (key, versions) in &mut both {
        let (first, last) = theirs[key].clone().into_inner();
        *versions = first.max(*versions.start())..=last.min(*versions.end());
    }
    kafka.speak(both.clone());
    tidelog.speak(both);
    script::run(&mut kafka, parts);
    script::run(&mut tidelog, parts);
    report(&compare::all(&kafka.asked, &tidelog.asked), kafka.asked.len(), !parts.is_empty())
}

/// Prints what differs; `partial` when not all of the script was run.
fn report(differences: &[Difference], asked: usize, partial: bool) -> ExitCode {
    let mut unused: Vec<&str> = allowed::ALLOWED.iter().map(|(pattern, _)| *pattern).collect();
    let (mut bad, mut fine) = (0, 0);
    for difference @ Difference { place, kafka, tidelog } in differences {
        let line = difference.to_string();
        unused.retain(|pattern| !allowed::is_like(pattern, &line));
        if allowed::ALLOWED.iter().any(|(pattern, _)| allowed::is_like(pattern, &line)) {
            fine += 1;
            continue;
        }
        bad += 1;
        println!("{place}\n    kafka    {kafka}\n    tidelog  {tidelog}");
    }
    if partial {
        unused.clear();
    }
    for pattern in &unused {
        println!("nothing differs at '{pattern}' any more: take it out of the list");
    }
    println!("{asked} requests each; {bad} differences, and {fine} that are allowed");
    if bad == 0 && unused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
