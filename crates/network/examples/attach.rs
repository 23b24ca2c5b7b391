//! Times of connecting containers, in a network namespace of its own: `cargo run --example attach -- 50`.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use carrack_network::{Attachment, Namespace, Networks, Wanted};
use carrack_store::{Roots, Store};

fn main() {
    let rounds: usize = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(50);
    let host = Namespace::create().unwrap();
    // As the run root is: in memory.
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let roots = Roots { data: folder.path().join("data"), run: folder.path().join("run") };
    let networks = Networks::new(&Store::open(roots).unwrap());
    let mut steps =
        vec![("namespace", Vec::new()), ("attach", Vec::new()), ("dns", Vec::new()), ("detach", Vec::new())];
    // Held to the end: the kernel's clearing away of dead namespaces takes its time from the living ones.
    let mut namespaces = Vec::new();
    host.run(|| {
        let attachments = [Attachment { network: "bridge".into(), ..Attachment::default() }];
        let start = Instant::now();
        networks.attach("first", &Namespace::create()?, &attachments)?;
        println!("first, with its network  {:>8.2?}", start.elapsed());
        for round in 0..rounds {
            let id = format!("c{round}");
            let mut lap = Instant::now();
            let mut step = |index: usize| {
                let now = Instant::now();
                let steps: &mut Vec<(&str, Vec<Duration>)> = &mut steps;
                steps[index].1.push(now - lap);
                lap = now;
            };
            let namespace = Namespace::create()?;
            step(0);
            networks.attach(&id, &namespace, &attachments)?;
            step(1);
            namespace.redirect_dns(40000, 40001)?;
            step(2);
            networks.detach(&id)?;
            step(3);
            namespaces.push(namespace);
        }
        let (mut create, mut remove) = (Vec::new(), Vec::new());
        for round in 0..rounds.min(10) {
            let name = format!("n{round}");
            let start = Instant::now();
            networks.create(&Wanted { name: name.clone(), ..Wanted::default() })?;
            create.push(start.elapsed());
            let start = Instant::now();
            networks.remove(&name)?;
            remove.push(start.elapsed());
        }
        steps.extend([("create", create), ("remove", remove)]);
        Ok(())
    })
    .unwrap();
    for (name, times) in &mut steps {
        times.sort();
        println!("{name:<12} median {:>8.2?}   p90 {:>8.2?}", times[times.len() / 2], times[times.len() * 9 / 10]);
    }
}
