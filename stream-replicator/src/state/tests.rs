use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use overlay_protocol::replication::{Advisory, AdvisoryEvent};
use overlay_testkit::eventually_blocking;
use proptest::prelude::*;
use tempfile::TempDir;
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;
use crate::track::Nanos;

const SEEN: OffsetDateTime = datetime!(2026-11-20 22:14:11.642976878 UTC);

fn item(value: &str, size: u64) -> TrackedItem {
    TrackedItem {
        seen: Some(SEEN),
        size,
        value: value.to_owned(),
        ..TrackedItem::default()
    }
}

fn gone(value: &str) -> TrackedItem {
    TrackedItem {
        gone: true,
        ..item(value, 0)
    }
}

fn owed(number: u8) -> Owed {
    Owed {
        advisory: Advisory {
            event_id: Ksuid::from_bytes([number; 20]),
            inspect_field: "sender".to_owned(),
            age: 1,
            seen: 2,
            replicator: "US-EAST".to_owned(),
            timestamp: 3,
            event: AdvisoryEvent::Expire,
            value: format!("h{number}"),
        },
        seen: Nanos::of_date(SEEN).unwrap(),
    }
}

fn lines(lines: &[Line]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        line.write(&mut out);
    }
    out
}

fn batch(text: Vec<u8>) -> Batch {
    Batch {
        lines: text,
        sync: true,
        ..Batch::default()
    }
}

fn files() -> (TempDir, Files) {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(dir.path(), "GINKGO", "OTHER");
    (dir, files)
}

/// Processes that other tests start meanwhile hold a lock of ours until their program begins.
fn open(files: &Files) -> Disk {
    let (limit, period) = (Duration::from_secs(20), Duration::from_millis(5));
    eventually_blocking(limit, period, || Disk::open(files.clone()))
}

fn names(files: &Files) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(&files.dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".lock"))
        .collect();
    names.sort();
    names
}

fn sorted(mut loaded: Loaded) -> Vec<TrackedItem> {
    assert!(loaded.faults.is_empty(), "{:?}", loaded.faults);
    loaded.items.sort_by(|a, b| a.value.cmp(&b.value));
    loaded.items
}

#[test]
fn what_was_written_in_lines_is_read_after_a_kill() {
    let (_dir, files) = files();
    let mut disk = open(&files);
    assert!(!files.load().unwrap().is_found);
    disk.write(&batch(lines(&[
        Line::Item(item("a", 1)),
        Line::Item(item("b", 1)),
        Line::Advisory(Entry::Owed(owed(1))),
        Line::Advisory(Entry::Owed(owed(2))),
    ])))
    .unwrap();
    disk.write(&batch(lines(&[
        Line::Item(item("a", 2)),
        Line::Item(gone("b")),
        Line::Advisory(Entry::Told(owed(1).advisory.event_id)),
    ])))
    .unwrap();
    drop(disk);
    let loaded = files.load().unwrap();
    assert!(loaded.is_found);
    assert_eq!(loaded.owed, [owed(2)]);
    assert_eq!(sorted(loaded), [item("a", 2)]);
}

#[test]
fn a_snapshot_in_pieces_takes_the_place_of_the_journals_before_it() {
    let (_dir, files) = files();
    let mut disk = open(&files);
    disk.write(&batch(lines(&[
        Line::Item(item("old", 1)),
        Line::Item(gone("old")),
    ])))
    .unwrap();
    disk.write(&Batch {
        rotate: Some(lines(&[Line::Advisory(Entry::Owed(owed(1)))])),
        piece: Some(Piece {
            text: encode_items(&[item("a", 1)], true),
            last: None,
        }),
        ..Batch::default()
    })
    .unwrap();
    // Meanwhile a value changes that was written already.
    disk.write(&Batch {
        lines: lines(&[Line::Item(item("a", 2))]),
        piece: Some(Piece {
            text: encode_items(&[item("b", 1)], false),
            last: Some(true),
        }),
        ..Batch::default()
    })
    .unwrap();
    assert_eq!(
        names(&files),
        ["GINKGO_OTHER.journal.2", "GINKGO_OTHER.json"]
    );
    let loaded = files.load().unwrap();
    assert_eq!(loaded.owed, [owed(1)]);
    assert_eq!(sorted(loaded), [item("a", 2), item("b", 1)]);
}

#[test]
fn sr_case_41_an_orderly_end_leaves_the_originals_file_and_nothing_else() {
    let (_dir, files) = files();
    let disk = open(&files);
    disk.close(encode_items(&[item("h1", 5)], true), Vec::new())
        .unwrap();
    assert_eq!(names(&files), ["GINKGO_OTHER.json"]);
    let text = fs::read_to_string(files.snapshot()).unwrap();
    assert_eq!(
        text,
        r#"{"Items":{"h1":{"seen":"2026-11-20T22:14:11.642976878Z","copied":"0001-01-01T00:00:00Z","size":5,"value":"h1"}}}"#
    );
    let disk = open(&files);
    disk.close(Vec::new(), Vec::new()).unwrap();
    assert_eq!(names(&files), Vec::<String>::new(), "no values, no file");
    let disk = open(&files);
    disk.close(Vec::new(), lines(&[Line::Advisory(Entry::Owed(owed(3)))]))
        .unwrap();
    assert_eq!(
        files.load().unwrap().owed,
        [owed(3)],
        "what is still to be told stays"
    );
}

#[test]
fn a_file_that_the_original_wrote_meanwhile_counts_where_it_is_newer() {
    let (_dir, files) = files();
    let mut disk = open(&files);
    disk.write(&batch(lines(&[
        Line::Item(item("a", 1)),
        Line::Item(gone("b")),
    ])))
    .unwrap();
    drop(disk);
    let newer = r#"{"Items":{
        "a":{"seen":"2026-11-20T22:20:00Z","copied":"0001-01-01T00:00:00Z","size":9},
        "b":{"seen":"2026-11-20T22:20:00Z","copied":"0001-01-01T00:00:00Z","size":9}}}"#;
    fs::write(files.snapshot(), newer).unwrap();
    let items = sorted(files.load().unwrap());
    let found: Vec<_> = items
        .iter()
        .map(|item| (item.value.as_str(), item.size))
        .collect();
    assert_eq!(found, [("a", 9), ("b", 9)]);
}

#[test]
fn bad_entries_cost_themselves_and_a_bad_file_is_set_aside() {
    let (_dir, files) = files();
    let text = r#"{"Items":{"a":{"seen":"2026-11-20T22:14:11.642976878Z","size":1},"b":null,"c":{"size":"1"},"d":[]}}"#;
    fs::write(files.snapshot(), text).unwrap();
    let loaded = files.load().unwrap();
    assert_eq!(loaded.items, [item("a", 1)]);
    assert_eq!(loaded.faults.len(), 3);
    assert!(
        loaded.faults[1].contains("c: word of a replicator has a bad member size"),
        "{:?}",
        loaded.faults
    );
    fs::write(files.snapshot(), "{\"Items\":{\"h1\":{\"seen\":\"20").unwrap();
    let loaded = files.load().unwrap();
    assert_eq!((loaded.items.len(), loaded.faults.len()), (0, 1));
    assert_eq!(names(&files), ["GINKGO_OTHER.json.bad"]);
}

#[test]
fn files_are_one_process_s_at_a_time() {
    let (_dir, files) = files();
    let disk = open(&files);
    assert!(matches!(
        Disk::open(files.clone()),
        Err(StateError::Held { .. })
    ));
    drop(disk);
    open(&files);
}

proptest! {
    #[test]
    fn a_journal_torn_anywhere_says_what_its_whole_lines_say(cut in 0_usize..2_000) {
        let (_dir, files) = files();
        let written: Vec<_> = (0..10).map(|number| Line::Item(item(&format!("h{number}"), 1))).collect();
        let text = lines(&written);
        let cut = cut.min(text.len());
        fs::write(files.journal(1), &text[..cut]).unwrap();
        let whole = text[..cut].iter().filter(|byte| **byte == b'\n').count();
        let loaded = files.load().unwrap();
        prop_assert!(loaded.faults.is_empty());
        prop_assert_eq!(loaded.items.len(), whole);
    }

    #[test]
    fn a_damaged_line_costs_itself_and_is_told_of(at in 0_usize..900, byte in any::<u8>()) {
        let (_dir, files) = files();
        let written: Vec<_> = (0..8).map(|number| Line::Item(item(&format!("h{number}"), 1))).collect();
        let mut text = lines(&written);
        let at = at.min(text.len() - 2);
        prop_assume!(text[at] != byte && text[at] != b'\n' && byte != b'\n');
        text[at] = byte;
        fs::write(files.journal(1), &text).unwrap();
        let loaded = files.load().unwrap();
        prop_assert_eq!(loaded.items.len(), 7);
        prop_assert_eq!(loaded.faults.len(), 1);
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (_dir, files) = files();
        OpenOptions::new().create(true).append(true).open(files.journal(1)).unwrap().write_all(&bytes).unwrap();
        fs::write(files.snapshot(), &bytes).unwrap();
        prop_assert!(files.load().is_ok());
    }
}
