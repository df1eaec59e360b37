use proptest::prelude::*;
use time::macros::datetime;

use super::*;

fn decoded(text: &str) -> Result<TrackedItem, DecodeError> {
    TrackedItem::decode(text.as_bytes(), &Limits::default())
}

fn text(item: &TrackedItem) -> String {
    String::from_utf8(item.encode()).unwrap()
}

#[test]
fn an_item_is_written_as_the_original_writes_it() {
    let item = TrackedItem {
        seen: Some(datetime!(2026-11-20 22:17:44.72140507 UTC)),
        copied: None,
        size: 102,
        value: "h3".to_owned(),
        ..TrackedItem::default()
    };
    assert_eq!(
        text(&item),
        r#"{"seen":"2026-11-20T22:17:44.72140507Z","copied":"0001-01-01T00:00:00Z","size":102,"value":"h3"}"#
    );
    assert_eq!(decoded(&text(&item)).unwrap(), item);
}

#[test]
fn our_members_are_written_only_when_they_say_something() {
    let mut item = TrackedItem {
        size: 1,
        copied_size: Some(1),
        advised: true,
        ..TrackedItem::default()
    };
    let written = text(&item);
    assert!(
        written.ends_with(r#""advised":true,"size":1}"#),
        "{written}"
    );
    item.copied_size = Some(7);
    item.stopped = Some(datetime!(2026-11-20 22:17:44 UTC));
    item.gone = true;
    let written = text(&item);
    assert!(
        written.ends_with(r#""copied_size":7,"stopped":"2026-11-20T22:17:44Z","gone":true}"#),
        "{written}"
    );
    assert_eq!(decoded(&written).unwrap(), item);
}

#[test]
fn items_are_read_as_leniently_as_go_reads_them() {
    let item =
        decoded(r#"{"Seen":"2026-11-20T23:10:11.5+01:00","SIZE":1e2,"advised":null,"x":{}}"#);
    let item = item.unwrap();
    assert_eq!(item.seen, Some(datetime!(2026-11-20 22:10:11.5 UTC)));
    assert_eq!((item.size, item.advised), (100, false));
    for wrong in [
        r#"{"seen":"yesterday"}"#,
        r#"{"size":"1"}"#,
        r#"{"size":-1}"#,
        r#"{"advised":1}"#,
        r#"{"value":1}"#,
        "null",
        "[]",
        "",
    ] {
        assert!(decoded(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(TrackedItem::decode(&bytes, &Limits::default()).is_err());
    }

    #[test]
    fn what_is_written_is_read_again(seen in 1_i64..4_000_000_000, nanos in 0_u32..1_000_000_000, size in 0_u64..1 << 40, value in "\\PC{0,30}") {
        let at = OffsetDateTime::from_unix_timestamp(seen).unwrap().replace_nanosecond(nanos).unwrap();
        let item = TrackedItem { seen: Some(at), copied: Some(at), size, value, copied_size: Some(size + 1), ..TrackedItem::default() };
        prop_assert_eq!(decoded(&text(&item)).unwrap(), item);
    }
}
