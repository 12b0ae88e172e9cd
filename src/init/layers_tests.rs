use super::*;

fn unit(name: &str, after: &[&str]) -> Unit {
    Unit {
        name: name.into(),
        after: after.iter().map(|name| (*name).to_owned()).collect(),
        ..Unit::default()
    }
}

#[test]
fn circles_are_broken_and_said() {
    let mut units = vec![
        unit("a", &["b"]),
        unit("b", &["c", "d"]),
        unit("c", &["a"]),
        unit("d", &["d", "unknown"]),
    ];
    break_cycles(&mut units);
    let order = topological(&units);
    assert_eq!(order.len(), 4);
    let at = |index: usize| order.iter().position(|own| *own == index).unwrap();
    assert!(at(2) < at(1) && at(3) < at(1) && at(1) < at(0));
    assert!(units[2].after.is_empty() && units[2].notes[0].unsure);
    assert_eq!(units[3].after, ["unknown"]);
}

#[test]
fn units_that_need_each_other_in_a_long_chain_are_ordered_in_bounded_time() {
    let count = 200;
    let mut units: Vec<Unit> = (0..count)
        .map(|n| unit(&n.to_string(), &[&((n + 1) % count).to_string()]))
        .collect();
    break_cycles(&mut units);
    let order = topological(&units);
    assert_eq!(order.first(), Some(&(count - 1)));
    assert_eq!(units.iter().filter(|unit| unit.after.is_empty()).count(), 1);
}
