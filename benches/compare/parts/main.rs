//! What a comparison needs beside the brokers: the machine's floors, a broker that drops what it
//! acknowledges, and a load made with librdkafka. Each prints one JSON object.

#![allow(missing_docs, clippy::unwrap_used, reason = "a failed measurement panics")]

mod black_hole;
mod floors;
mod librdkafka;

use clap::Parser;

#[derive(Parser)]
enum Part {
    /// What loopback, disk and sendfile give without a broker
    Floors(floors::Floors),
    /// A broker that acknowledges and drops
    BlackHole(black_hole::BlackHole),
    /// Produce with librdkafka
    RdkafkaProduce(librdkafka::Produce),
    /// Consume with librdkafka
    RdkafkaConsume(librdkafka::Consume),
}

fn main() {
    match Part::parse() {
        Part::Floors(floors) => floors.run(),
        Part::BlackHole(black_hole) => black_hole.run(),
        Part::RdkafkaProduce(produce) => produce.run(),
        Part::RdkafkaConsume(consume) => consume.run(),
    }
}
