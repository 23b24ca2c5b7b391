use std::io::Write as _;
use std::path::Path;

use super::{Event, FILE_SIZE_BYTES, OLDER_FILES, Reader, Reading, append, older};

fn event(number: usize) -> Event {
    // Long ones, so that files fill soon.
    let text = "x".repeat(4000);
    let attributes = [("number".to_owned(), number.to_string()), ("text".to_owned(), text)].into();
    Event { kind: "container".into(), action: "start".into(), id: "1".into(), attributes, ..Event::default() }
}

fn numbers(reader: &mut Reader) -> Vec<usize> {
    let mut numbers = Vec::new();
    while let Reading::Event(event) = reader.read().unwrap() {
        numbers.push(event.attributes["number"].parse().unwrap());
    }
    numbers
}

fn file_of_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.len())
}

#[test]
fn a_rotation_while_somebody_follows_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    const WRITERS: usize = 4;
    const EACH: usize = 700;
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let path = &path;
                scope.spawn(move || (0..EACH).for_each(|one| append(path, &event(writer * EACH + one)).unwrap()))
            })
            .collect();
        let mut reader = Reader::open(&path, true).unwrap();
        while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            seen.extend(numbers(&mut reader));
        }
        seen.extend(numbers(&mut reader));
    });
    seen.sort_unstable();
    assert_eq!(seen, (0..WRITERS * EACH).collect::<Vec<_>>());
    assert!(older(&path, 1).exists(), "no rotation took place: the test proves nothing");
}

#[test]
fn who_begins_late_reads_all_that_is_kept_and_who_is_too_slow_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    append(&path, &event(0)).unwrap();
    let mut slow = Reader::open(&path, true).unwrap();
    assert_eq!(numbers(&mut slow), [0]);
    let mut last = 0;
    while file_of_bytes(&older(&path, OLDER_FILES)) == 0 {
        last += 1;
        append(&path, &event(last)).unwrap();
    }
    let mut late = Reader::open(&path, true).unwrap();
    assert_eq!(numbers(&mut late), (0..=last).collect::<Vec<_>>());
    // Its file is the oldest that is kept: it can still find its way.
    assert_eq!(numbers(&mut slow), (1..=last).collect::<Vec<_>>());
    let mut stuck = Reader::open(&path, false).unwrap();
    for number in 0..(FILE_SIZE_BYTES as usize / 4000 + 1) * (OLDER_FILES as usize + 1) {
        append(&path, &event(number)).unwrap();
    }
    while stuck.read().unwrap() != Reading::Missed {}
    assert!(!numbers(&mut stuck).is_empty());
    let kept = (0..=OLDER_FILES + 1).map(|number| file_of_bytes(&older(&path, number))).filter(|bytes| *bytes > 0);
    assert_eq!(kept.count(), OLDER_FILES as usize + 1);
}

#[test]
fn a_line_that_a_full_disk_cut_off_costs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    append(&path, &event(1)).unwrap();
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"time\":\"2026-01-01T00:00:").unwrap();
    append(&path, &event(2)).unwrap();
    append(&path, &event(3)).unwrap();
    assert_eq!(numbers(&mut Reader::open(&path, true).unwrap()), [1, 2, 3]);
    assert_eq!(numbers(&mut Reader::open(&path, false).unwrap()), Vec::<usize>::new());
    // A root on which nothing has happened yet.
    let mut early = Reader::open(&folder.path().join("later"), false).unwrap();
    assert_eq!(early.read().unwrap(), Reading::End);
    append(&folder.path().join("later"), &event(7)).unwrap();
    assert_eq!(numbers(&mut early), [7]);
}
