//! What the fuzz targets do, on their seeds and on what a few changed bytes make of them, with a stable compiler.

use std::path::Path;

use ubs::testing::{TARGETS, frame_of};

/// Changed copies of each seed.
const CHANGED: u64 = 200;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|why| panic!("{}: {why}", dir.display()));
    let mut files: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), std::fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// The same for the same seed: some bytes changed, left out, or put in.
fn changed(bytes: &[u8], at: u64) -> Vec<u8> {
    let mut state = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(bound.max(1)).unwrap()).unwrap()
    };
    let mut bytes = bytes.to_vec();
    for _ in 0..=next(4) {
        let place = next(bytes.len());
        match next(4) {
            0 if !bytes.is_empty() => bytes[place] = next(256) as u8,
            1 if !bytes.is_empty() => drop(bytes.remove(place)),
            2 => bytes.truncate(place),
            _ => bytes.insert(place, b"\0\n\"'${}[]()*&:;-\xff"[next(17)]),
        }
    }
    bytes
}

#[test]
fn every_target_takes_its_seeds_and_what_is_like_them() {
    for (name, target) in TARGETS {
        let seeds = files(&root().join("fuzz/seeds").join(name));
        assert!(seeds.len() >= 3, "{name} has {} seeds", seeds.len());
        for (path, seed) in seeds {
            eprintln!("{path}");
            target(&seed);
            (0..CHANGED).for_each(|at| target(&changed(&seed, at)));
        }
    }
}

#[test]
fn every_target_has_a_program_and_the_other_way_round() {
    let programs = files(&root().join("fuzz/fuzz_targets"));
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    assert_eq!(programs.len(), TARGETS.len());
    for (name, _) in TARGETS {
        let file = format!("fuzz_targets/{name}.rs");
        assert!(
            programs.iter().any(|(path, _)| path.ends_with(&file)),
            "{file}"
        );
        assert!(manifest.contains(&format!("path = \"{file}\"")), "{file}");
    }
}

#[test]
fn golden_frames_with_changed_bytes_are_frames_or_opaque() {
    let mut seen = 0;
    let versions = std::fs::read_dir(root().join("schema/frames")).unwrap();
    for (path, text) in versions.flat_map(|dir| files(&dir.unwrap().path())) {
        let Some(name) = path.strip_suffix(".hex") else {
            continue;
        };
        let name = name.rsplit('/').next().unwrap();
        let kind = name.split('.').next().unwrap();
        let text = String::from_utf8(text).unwrap();
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let frame: Vec<u8> = digits.chunks(2).map(byte).collect();
        for version in 0..4 {
            frame_of(kind, version, &frame);
            (0..20).for_each(|at| frame_of(kind, version, &changed(&frame, at)));
        }
        seen += 1;
    }
    assert!(seen >= 20, "{seen} golden frames");
}
