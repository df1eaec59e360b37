use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Files and directories with content and mode.
type Found = BTreeMap<String, (Vec<u8>, u32)>;

/// Every file below a directory with content and mode; directories have none.
fn look(dir: &Path) -> Found {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777;
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            if path.is_dir() {
                found.insert(format!("{name}/"), (Vec::new(), mode));
                left.push(path);
            } else {
                found.insert(name, (fs::read(&path).unwrap(), mode));
            }
        }
    }
    found
}

/// What a change should do to the files of [`start`].
#[derive(Debug, Clone)]
enum Wish {
    Write(&'static str, u8, u32),
    Remove(&'static str),
    Policies(Vec<(&'static str, u8)>),
}

fn wish() -> impl Strategy<Value = Wish> {
    let name = prop_oneof![
        Just("server.conf"),
        Just("server.jwt"),
        Just("server.seed"),
        Just("ssl/private.pem"),
        Just("deep/er/file"),
    ];
    let policy = prop_oneof![Just("a.policy"), Just("b.policy"), Just("rego/x.rego")];
    prop_oneof![
        (
            name.clone(),
            any::<u8>(),
            prop_oneof![Just(0o600), Just(0o644)]
        )
            .prop_map(|(name, byte, mode)| Wish::Write(name, byte, mode)),
        name.prop_map(Wish::Remove),
        proptest::collection::btree_map(policy, any::<u8>(), 0..3)
            .prop_map(|files| Wish::Policies(files.into_iter().collect())),
    ]
}

fn start(dir: &Path) {
    fs::create_dir_all(dir.join("ssl")).unwrap();
    fs::create_dir_all(dir.join("policies/rego")).unwrap();
    for file in [
        "server.conf",
        "server.seed",
        "ssl/private.pem",
        "policies/old.policy",
    ] {
        fs::write(dir.join(file), file).unwrap();
    }
}

fn changes(dir: &Path, wishes: &[Wish]) -> ChangeSet {
    let mut set = ChangeSet::default();
    for wish in wishes {
        match wish {
            Wish::Write(name, byte, mode) => set.write(dir.join(name), vec![*byte], *mode),
            Wish::Remove(name) => set.remove(dir.join(name)),
            Wish::Policies(files) => set.tree(
                dir.join("policies"),
                files
                    .iter()
                    .map(|(name, byte)| (PathBuf::from(name), vec![*byte])),
            ),
        }
    }
    set
}

fn run(dir: &Path, wishes: &[Wish], hook: Hook<'_>) -> Result<(), ChangeError> {
    changes(dir, wishes).stage(dir, hook)?.commit(hook)
}

/// The files before, the files after, and how many steps lie between.
fn ends(wishes: &[Wish]) -> (Found, Found, usize) {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path());
    let before = look(dir.path());
    let mut steps = 0;
    run(dir.path(), wishes, &mut |_| {
        steps += 1;
        Ok(())
    })
    .unwrap();
    (before, look(dir.path()), steps)
}

fn refused() -> io::Result<()> {
    Err(io::Error::other("as the test wants"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn one_step_that_fails_leaves_all_files_as_they_were_or_all_changed(
        wishes in proptest::collection::vec(wish(), 1..5),
    ) {
        let (before, after, steps) = ends(&wishes);
        for failing in 0..steps {
            let dir = tempfile::tempdir().unwrap();
            start(dir.path());
            let mut at = 0;
            let done = run(dir.path(), &wishes, &mut |_| {
                at += 1;
                if at == failing + 1 { refused() } else { Ok(()) }
            });
            prop_assert!(done.is_err(), "step {} of {}", failing, steps);
            let broken = matches!(done, Err(ChangeError::Broken { .. }));
            prop_assert!(!broken);
            prop_assert_eq!(&look(dir.path()), &before, "step {} of {}", failing, steps);
        }
        let _unused = after;
    }

    #[test]
    fn a_process_that_dies_at_a_step_leaves_all_or_nothing_once_recovered(
        wishes in proptest::collection::vec(wish(), 1..5),
    ) {
        let (before, after, steps) = ends(&wishes);
        for dying in 0..steps {
            let dir = tempfile::tempdir().unwrap();
            start(dir.path());
            let mut at = 0;
            // Every later step fails too: nothing is undone by the process itself.
            let done = run(dir.path(), &wishes, &mut |_| {
                at += 1;
                if at > dying { refused() } else { Ok(()) }
            });
            prop_assert!(done.is_err());
            recover(dir.path(), &mut no_hook).unwrap();
            let found = settled(look(dir.path()));
            prop_assert!(
                found == settled(before.clone()) || found == settled(after.clone()),
                "step {} of {}: {:?}", dying, steps, found.keys().collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn a_process_that_dies_in_recovering_can_be_recovered(
        wishes in proptest::collection::vec(wish(), 1..4),
        dying in any::<prop::sample::Index>(),
        again in any::<prop::sample::Index>(),
    ) {
        let (before, after, steps) = ends(&wishes);
        let dying = dying.index(steps);
        let dir = tempfile::tempdir().unwrap();
        start(dir.path());
        let mut at = 0;
        let _dead = run(dir.path(), &wishes, &mut |_| {
            at += 1;
            if at > dying { refused() } else { Ok(()) }
        });
        let last = again.index(12);
        let mut at = 0;
        let _dead = recover(dir.path(), &mut |_| {
            at += 1;
            if at > last { refused() } else { Ok(()) }
        });
        recover(dir.path(), &mut no_hook).unwrap();
        let found = settled(look(dir.path()));
        prop_assert!(found == settled(before) || found == settled(after));
    }
}

/// Without what a dead process may leave beside the files: staged parts in other directories, and directories that are
/// empty. None of it is read by anybody.
fn settled(found: Found) -> Found {
    found
        .into_iter()
        .filter(|(name, _)| !name.contains(FRESH) && !name.contains(OLD) && !name.ends_with('/'))
        .collect()
}

#[test]
fn modes_are_as_asked_whatever_the_mask() {
    let dir = tempfile::tempdir().unwrap();
    let mut set = ChangeSet::default();
    set.write(dir.path().join("a"), *b"a", 0o644);
    set.write(dir.path().join("b"), *b"b", 0o600);
    set.tree(
        dir.path().join("policies"),
        [(PathBuf::from("rego/x.rego"), b"x".to_vec())],
    );
    set.apply(dir.path()).unwrap();
    let found = look(dir.path());
    let modes = found
        .iter()
        .map(|(name, (_, mode))| (name.as_str(), *mode))
        .collect::<Vec<_>>();
    assert_eq!(
        modes,
        [
            ("a", 0o644),
            ("b", 0o600),
            ("policies/", 0o700),
            ("policies/rego/", 0o700),
            ("policies/rego/x.rego", 0o400),
        ]
    );
}

#[test]
fn what_was_staged_and_not_committed_is_cleared_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path());
    let before = look(dir.path());
    let mut set = ChangeSet::default();
    set.write(dir.path().join("server.seed"), *b"new", 0o600);
    let staged = set.stage(dir.path(), &mut no_hook).unwrap();
    assert_ne!(look(dir.path()), before);
    drop(staged);
    recover(dir.path(), &mut no_hook).unwrap();
    assert_eq!(look(dir.path()), before);
}

#[test]
fn one_change_does_not_disturb_another_that_waits() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path());
    let mut waiting = ChangeSet::default();
    waiting.write(dir.path().join("server.conf"), *b"later", 0o600);
    waiting.write(dir.path().join("ssl/private.pem"), *b"later", 0o600);
    let waiting = waiting.stage(dir.path(), &mut no_hook).unwrap();
    let mut other = ChangeSet::default();
    other.write(dir.path().join("server.conf"), *b"now", 0o600);
    other.apply(dir.path()).unwrap();
    assert_eq!(look(dir.path())["server.conf"].0, b"now");
    waiting.commit(&mut no_hook).unwrap();
    let found = look(dir.path());
    assert_eq!(found["server.conf"].0, b"later");
    assert_eq!(found["ssl/private.pem"].0, b"later");
    assert!(
        found.keys().all(|name| !name.contains("overlay")),
        "{found:?}"
    );
}

#[test]
fn a_change_that_has_lost_a_file_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path());
    let before = look(dir.path());
    let mut set = ChangeSet::default();
    set.write(dir.path().join("server.conf"), *b"new", 0o600);
    set.write(dir.path().join("server.seed"), *b"new", 0o600);
    let staged = set.stage(dir.path(), &mut no_hook).unwrap();
    let lost = staged.fresh(&dir.path().join("server.seed")).unwrap();
    fs::remove_file(lost).unwrap();
    assert!(staged.commit(&mut no_hook).is_err());
    assert_eq!(look(dir.path()), before);
}

#[test]
fn what_was_staged_elsewhere_is_cleared_at_the_next_start_too() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path());
    let before = look(dir.path());
    let mut set = ChangeSet::default();
    set.write(dir.path().join("ssl/private.pem"), *b"new", 0o600);
    set.write(dir.path().join("deep/er/file"), *b"new", 0o600);
    drop(set.stage(dir.path(), &mut no_hook).unwrap());
    recover(dir.path(), &mut no_hook).unwrap();
    assert_eq!(look(dir.path()), before);
}

#[test]
fn contents_are_not_shown() {
    let mut set = ChangeSet::default();
    set.write(PathBuf::from("/x/seed"), *b"s3cret", 0o600);
    assert!(!format!("{set:?}").contains("115"));
    assert!(!format!("{set:?}").contains("s3cret"));
}
