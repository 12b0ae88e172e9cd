//! The screens, as a terminal would show them, and what keys do.

use std::collections::BTreeMap;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{LogLine, MissionRow, Mode, Model, Order, Seen, Then, Use};
use super::view;
use crate::domain::event::ServiceOrder;
use crate::domain::health::{Health, HealthStatus, LayerHealth, ServiceHealth};
use crate::domain::ids::{At, BootId};

fn service(name: &str, status: &'static str, pid: Option<u32>) -> ServiceHealth {
    ServiceHealth {
        name: name.to_owned(),
        status,
        waits_for: vec![],
        pid,
        restarts: 0,
        stable: status == "ready",
        error: None,
        note: None,
    }
}

fn seen() -> Seen {
    let layer = |name: &str, critical, status, services| LayerHealth {
        name: name.to_owned(),
        critical,
        status,
        reason: None,
        services,
    };
    let worker = ServiceHealth {
        restarts: 3,
        error: Some("exit code 1: \u{1b}[31mKeyError\u{1b}[0m: 'SMTP_HOST'".to_owned()),
        ..service("worker", "restarting", None)
    };
    let used = |cpu: f64, mib: u64| Use {
        cpu_percent: Some(cpu),
        memory_bytes: mib << 20,
    };
    Seen {
        at: At(1_764_000_185_000_000),
        health: Health {
            status: HealthStatus::Degraded,
            app: Some("shop".to_owned()),
            boot_id: Some(BootId(uuid::Uuid::from_u128(0x0198))),
            phase: "running",
            up_at: Some(At(1_764_000_000_000_000)),
            reason: Some("worker was restarted 3 times".to_owned()),
            layers: vec![
                layer(
                    "data",
                    true,
                    "up",
                    vec![
                        service("migrate", "done", None),
                        service("cache", "ready", Some(4711)),
                    ],
                ),
                layer("api", true, "up", vec![service("api", "ready", Some(4712))]),
                layer("mail", false, "starting", vec![worker]),
            ],
            missions_open: 2,
            ..Health::unknown()
        },
        runs: true,
        silent: None,
        uses: BTreeMap::from([
            ("cache".to_owned(), used(0.4, 12)),
            ("api".to_owned(), used(103.2, 2100)),
        ]),
        missions: vec![
            MissionRow {
                slug: "worker-keyerror-smtp".to_owned(),
                status: "quarantined",
                awaits_approval: false,
                needs_person: true,
                text: "no fixer knows it".to_owned(),
            },
            MissionRow {
                slug: "schema-drop-column".to_owned(),
                status: "awaiting_approval",
                awaits_approval: true,
                needs_person: false,
                text: "DROP COLUMN is destructive".to_owned(),
            },
        ],
    }
}

fn lines(numbers: std::ops::Range<usize>) -> Vec<LogLine> {
    let line = |number: usize| LogLine {
        at: format!("2026-11-24T10:00:{:02}.000000Z", number % 60),
        text: format!("request {number} served \u{1b}[2J\tin {} ms", number % 7),
    };
    numbers.map(line).collect()
}

/// With the api selected, which printed 100 lines.
fn model() -> Model {
    let mut model = Model::new();
    assert_eq!(model.see(seen()), Then::ShowOutput("migrate".to_owned()));
    press(&mut model, "j");
    assert_eq!(press(&mut model, "j"), Then::ShowOutput("api".to_owned()));
    model.add_lines("cache", lines(0..5));
    model.add_lines("api", lines(0..100));
    model
}

fn press(model: &mut Model, keys: &str) -> Then {
    let mut then = Then::Nothing;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            '\u{1b}' => KeyCode::Esc,
            other => KeyCode::Char(other),
        };
        then = model.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
    then
}

fn screen(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| view::draw(frame, model, true))
        .unwrap();
    let text = terminal.backend().to_string();
    let lines = text.lines().map(|line| line.trim_matches('"').trim_end());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_screen_at_both_sizes() {
    let model = model();
    insta::assert_snapshot!("top_80x24", screen(&model, 80, 24));
    insta::assert_snapshot!("top_200x50", screen(&model, 200, 50));
}

#[test]
fn without_a_supervisor_the_log_is_shown_and_nothing_is_ordered() {
    let mut model = model();
    model.see(Seen {
        runs: false,
        uses: BTreeMap::new(),
        ..seen()
    });
    let text = screen(&model, 80, 24);
    assert!(
        text.contains("no supervisor runs here; this is what the log says"),
        "{text}"
    );
    for key in ["r", "s", "u"] {
        assert_eq!(press(&mut model, key), Then::Nothing);
        assert!(
            model.said.contains("no supervisor answers here"),
            "{}",
            model.said
        );
    }
    assert!(screen(&Model::new(), 80, 24).contains("looking"));
    // However small it is.
    for (width, height) in [(1, 1), (10, 3), (20, 8), (500, 4)] {
        screen(&model, width, height);
    }
}

#[test]
fn services_are_steered_and_a_stop_is_asked_first() {
    let mut model = model();
    let steer = |order| {
        Then::Do(Order::Steer {
            service: "api".to_owned(),
            order,
        })
    };
    assert_eq!(press(&mut model, "r"), steer(ServiceOrder::Restart));
    assert_eq!(press(&mut model, "u"), steer(ServiceOrder::Start));
    assert_eq!(press(&mut model, "s"), Then::Nothing);
    assert!(screen(&model, 80, 24).contains("stop api? y does it"));
    assert_eq!(press(&mut model, "n"), Then::Nothing);
    assert_eq!(press(&mut model, "sy"), steer(ServiceOrder::Stop));
    // It stays selected although services come before it.
    let mut other = seen();
    other.health.layers[0]
        .services
        .insert(0, service("first", "ready", None));
    assert_eq!(model.see(other), Then::Nothing);
    assert_eq!(model.selected(), Some("api"));
    assert_eq!(press(&mut model, "q"), Then::Quit);
}

#[test]
fn missions_are_approved_and_rejected_with_a_reason() {
    let mut model = model();
    let slug = || "schema-drop-column".to_owned();
    // The one that waits, wherever one is; in the list the one that is selected.
    assert_eq!(
        press(&mut model, "ay"),
        Then::Do(Order::Approve { slug: slug() })
    );
    assert_eq!(press(&mut model, "ma"), Then::Nothing);
    assert!(model.said.contains("no fix of it waits"), "{}", model.said);
    let reason = "not mine".to_owned();
    let rejected = Then::Do(Order::Reject {
        slug: slug(),
        reason,
    });
    assert_eq!(press(&mut model, "jxnot mine\n"), rejected);
    assert_eq!(press(&mut model, "x\n"), Then::Nothing);
    assert!(model.said.contains("say why"));
    assert_eq!(press(&mut model, "xq\u{1b}"), Then::Nothing);
    assert_eq!(model.mode, Mode::Looking);
}

#[test]
fn output_is_searched_scrolled_and_followed_again() {
    let mut model = model();
    press(&mut model, "/request 4[0-9] \n");
    assert_eq!(model.back, 100 - 1 - 49);
    assert!(screen(&model, 80, 24).contains("request 49 served"));
    press(&mut model, "n");
    assert_eq!(model.back, 100 - 1 - 48);
    press(&mut model, "NN");
    assert!(model.said.contains("no further line"));
    assert_eq!(model.back, 100 - 1 - 49);
    // What comes does not move what one looks at.
    model.add_lines("api", lines(100..110));
    let text = screen(&model, 80, 24);
    assert!(
        text.contains("request 49 served") && !text.contains("request 50 "),
        "{text}"
    );
    press(&mut model, "f");
    assert!(screen(&model, 80, 24).contains("request 109 served"));
    press(&mut model, "/(\n");
    assert!(model.said.contains("no further line"));
    model.add_lines("api", lines(0..6_000));
    assert_eq!(model.lines.len(), super::model::LINES_MAX);
    press(&mut model, "\u{1b}?");
    assert!(screen(&model, 80, 24).contains("search the output"));
}
