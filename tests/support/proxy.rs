//! A network that fails: it stands between a client and a broker, and now and then loses an answer
//! or cuts a request or an answer in the middle, with the connection.

use fastrand::Rng;
use std::io::{Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// One frame in so many, in each direction, is the last of its connection.
const FRAMES_BETWEEN_FAULTS: u64 = 30;
/// Frames that get through at first, so that a client comes to ask for something.
const FRAMES_SAFE: u64 = 6;

/// A running proxy. Its threads end with the process.
pub(crate) struct Proxy {
    /// Where clients find it.
    pub(crate) address: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    healed: AtomicBool,
    faults: AtomicUsize,
}

impl Proxy {
    /// A proxy to a broker, which need not run yet.
    pub(crate) fn start(broker: &str, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State::default());
        let (broker, shared) = (broker.to_owned(), state.clone());
        thread::spawn(move || {
            for (client, number) in listener.incoming().zip(0..) {
                let seed = seed.wrapping_add(number);
                // Nobody there: the client is hung up on, as the broker's machine would.
                if let (Ok(client), Ok(broker)) = (client, TcpStream::connect(&broker)) {
                    let _ = join(client, broker, seed, &shared);
                }
            }
        });
        Self { address, state }
    }

    /// How often it has failed so far.
    pub(crate) fn faults(&self) -> usize {
        self.state.faults.load(Ordering::SeqCst)
    }

    /// From now on everything gets through.
    pub(crate) fn heal(&self) {
        self.state.healed.store(true, Ordering::SeqCst);
    }
}

fn join(client: TcpStream, broker: TcpStream, seed: u64, state: &Arc<State>) -> Result<()> {
    let pairs =
        [(client.try_clone()?, broker.try_clone()?, seed << 1), (broker, client, seed << 1 | 1)];
    for (from, to, seed) in pairs {
        let state = state.clone();
        thread::spawn(move || {
            let _ = carry(&from, &to, seed, &state);
            for end in [&from, &to] {
                let _ = end.shutdown(Shutdown::Both);
            }
        });
    }
    Ok(())
}

/// Carries frames one way until an end closes or the network fails.
fn carry(mut from: &TcpStream, mut to: &TcpStream, seed: u64, state: &State) -> Result<()> {
    let mut random = Rng::with_seed(seed);
    for number in 0.. {
        let mut frame = vec![0; 4];
        from.read_exact(&mut frame)?;
        let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
        frame.resize(4 + length as usize, 0);
        from.read_exact(&mut frame[4..])?;
        let fails = number >= FRAMES_SAFE && random.u64(..FRAMES_BETWEEN_FAULTS) == 0;
        if fails && !state.healed.load(Ordering::SeqCst) {
            state.faults.fetch_add(1, Ordering::SeqCst);
            // None of it gets through, or any part of it.
            let part = if random.bool() { 0 } else { random.usize(..frame.len()) };
            to.write_all(&frame[..part])?;
            return Ok(());
        }
        to.write_all(&frame)?;
    }
    Ok(())
}
