//! Draws `ubs top`. Everything that came from a service or a log is cleaned before it comes here, and once more here.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Row, Table, TableState};

use super::model::{Focus, Mode, Model, Seen, Use};
use crate::cli::render::{cut, duration};
use crate::domain::health::{HealthStatus, LayerHealth, ServiceHealth};

/// From this width on there is room for what is wrong with a service.
const WIDE: u16 = 120;
/// Most rows of missions.
const MISSION_ROWS_MAX: u16 = 5;

const HELP: &[(&str, &str)] = &[
    (
        "j k ↓ ↑",
        "next, previous; PgDn PgUp (Ctrl-D Ctrl-U), g G for the ends",
    ),
    ("Tab", "services, output, missions"),
    ("Enter", "to the output of the service; Esc goes back"),
    (
        "/  n  N",
        "search the output; the one before, the one after",
    ),
    ("f  G", "follow the output again"),
    ("r", "restart the service (also Ctrl-R)"),
    ("s", "stop it (also F9); it is asked first"),
    ("u", "start it (also F7)"),
    ("m", "to the missions"),
    ("a", "approve the fix of a mission"),
    ("x", "reject it, with a reason"),
    ("q", "leave (also F10, Ctrl-C); the system goes on"),
];

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, is_plain: bool) {
    let area = frame.area();
    let missions = model.seen.as_ref().map_or(0, |seen| seen.missions.len());
    let mission_rows = match u16::try_from(missions).unwrap_or(u16::MAX) {
        0 => 0,
        count => count.min(MISSION_ROWS_MAX) + 2,
    };
    let services = rows_of_services(model);
    let service_rows = (services + 3).min(area.height.saturating_sub(3 + mission_rows) / 5 * 3);
    let [head, services, output, missions, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(service_rows.max(4)),
        Constraint::Min(3),
        Constraint::Length(mission_rows),
        Constraint::Length(1),
    ])
    .areas(area);
    let paint = Paint { is_plain };
    draw_head(frame, head, model, paint);
    draw_services(frame, services, model, paint);
    draw_output(frame, output, model, paint);
    if mission_rows > 0 {
        draw_missions(frame, missions, model, paint);
    }
    draw_foot(frame, foot, model, paint);
    if model.mode == Mode::Help {
        draw_help(frame, area, paint);
    }
}

#[derive(Clone, Copy)]
struct Paint {
    is_plain: bool,
}

impl Paint {
    fn color(self, color: Color) -> Style {
        if self.is_plain {
            Style::new()
        } else {
            Style::new().fg(color)
        }
    }

    fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn block(self, title: String, is_focus: bool) -> Block<'static> {
        let style = if is_focus {
            self.color(Color::Cyan).add_modifier(Modifier::BOLD)
        } else {
            self.dim()
        };
        Block::bordered().title(title).border_style(style)
    }

    fn of_health(self, status: HealthStatus) -> Style {
        let style = match status {
            HealthStatus::Healthy => self.color(Color::Green),
            HealthStatus::Degraded => self.color(Color::Yellow),
            HealthStatus::Unhealthy => self.color(Color::Red),
            HealthStatus::Starting => self.color(Color::Cyan),
            HealthStatus::Down | HealthStatus::Unknown => self.dim(),
        };
        style.add_modifier(Modifier::BOLD)
    }

    fn of_status(self, status: &str) -> Style {
        match status {
            "ready" | "up" | "up (not probed)" | "done" => self.color(Color::Green),
            "failed" => self.color(Color::Red),
            "unready" | "restarting" | "skipped" | "incomplete" | "waiting" => {
                self.color(Color::Yellow)
            }
            "starting" | "stopping" => self.color(Color::Cyan),
            _ => self.dim(),
        }
    }
}

fn rows_of_services(model: &Model) -> u16 {
    let layers = model.seen.iter().flat_map(|seen| &seen.health.layers);
    let rows: usize = layers.map(|layer| 1 + layer.services.len()).sum();
    u16::try_from(rows).unwrap_or(u16::MAX)
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let Some(seen) = &model.seen else {
        frame.render_widget(Paragraph::new("ubs top: looking ..."), area);
        return;
    };
    let health = &seen.health;
    let app = health.app.as_deref().unwrap_or("this workspace");
    let mut first = vec![
        Span::styled("ubs top", paint.strong()),
        Span::raw(format!("  {}  ", cut(app, 40))),
        Span::styled(
            health.status.as_str().to_uppercase(),
            paint.of_health(health.status),
        ),
    ];
    if let (Some(up), true) = (health.up_at, seen.runs) {
        let up = duration(seen.at.ms_since(up));
        first.push(Span::raw(format!("  up {up}")));
    }
    if health.missions_open > 0 {
        first.push(Span::raw(format!("  missions {}", health.missions_open)));
    }
    if let Some(boot) = health.boot_id {
        first.push(Span::styled(format!("  boot {boot}"), paint.dim()));
    }
    let second = match (said_of_source(seen), &health.reason) {
        (Some(said), _) => Span::styled(said, paint.color(Color::Yellow)),
        (None, Some(reason)) => Span::raw(cut(reason, usize::from(area.width))),
        (None, None) => Span::styled(format!("phase {}", health.phase), paint.dim()),
    };
    let text = vec![Line::from(first), Line::from(second)];
    frame.render_widget(Paragraph::new(text), area);
}

/// Why what is shown is not what the supervisor says.
fn said_of_source(seen: &Seen) -> Option<String> {
    let why = match (&seen.silent, seen.health.boot_id) {
        (Some(why), _) => format!("the supervisor does not answer ({})", cut(why, 60)),
        (None, _) if seen.runs => return None,
        (None, None) => return Some("nothing was booted here yet; `ubs boot` boots it".to_owned()),
        (None, Some(_)) => "no supervisor runs here".to_owned(),
    };
    Some(format!("{why}; this is what the log says"))
}

fn draw_services(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let is_wide = area.width >= WIDE;
    let (mut rows, mut selected, mut number) = (Vec::new(), None, 0);
    if let Some(seen) = &model.seen {
        for layer in &seen.health.layers {
            rows.push(layer_row(layer, paint));
            for service in &layer.services {
                if number == model.service {
                    selected = Some(rows.len());
                }
                number += 1;
                rows.push(service_row(seen, service, is_wide, paint));
            }
        }
    }
    let mut head = vec!["NAME", "STATE", "READY", "RST", "CPU", "MEMORY", "PID"];
    let mut widths = vec![
        Constraint::Min(12),
        Constraint::Length(16),
        Constraint::Length(6),
        Constraint::Length(3),
        Constraint::Length(6),
        Constraint::Length(9),
        Constraint::Length(7),
    ];
    if is_wide {
        head.push("WHAT IS WRONG");
        widths[0] = Constraint::Length(30);
        widths.push(Constraint::Min(20));
    }
    let table = Table::new(rows, widths)
        .header(Row::new(head).style(paint.dim()))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(paint.block(" services ".to_owned(), model.focus == Focus::Services));
    let mut state = TableState::new().with_selected(selected);
    frame.render_stateful_widget(table, area, &mut state);
}

fn layer_row(layer: &LayerHealth, paint: Paint) -> Row<'static> {
    let kind = if layer.critical { "" } else { " (optional)" };
    Row::new([
        Cell::from(format!("{}{kind}", cut(&layer.name, 40))).style(paint.strong()),
        Cell::from(layer.status).style(paint.of_status(layer.status)),
    ])
}

fn service_row(seen: &Seen, service: &ServiceHealth, is_wide: bool, paint: Paint) -> Row<'static> {
    let ready = match service.status {
        _ if service.stable => "stable",
        "ready" | "up (not probed)" | "done" => "yes",
        "disabled" | "pending" => "-",
        _ => "no",
    };
    let used = seen.uses.get(&service.name);
    let mut cells = vec![
        Cell::from(format!("  {}", cut(&service.name, 40))),
        Cell::from(service.status).style(paint.of_status(service.status)),
        Cell::from(ready),
        Cell::from(match service.restarts {
            0 => String::new(),
            n => n.to_string(),
        }),
        Cell::from(used.map_or_else(String::new, cpu)),
        Cell::from(used.map_or_else(String::new, |used| memory(used.memory_bytes))),
        Cell::from(service.pid.map_or_else(String::new, |pid| pid.to_string())),
    ];
    if is_wide {
        cells.push(Cell::from(wrong(service)));
    }
    Row::new(cells)
}

fn wrong(service: &ServiceHealth) -> String {
    let text = match (&service.error, &service.note) {
        _ if !service.waits_for.is_empty() => {
            format!("waits for {}", service.waits_for.join(", "))
        }
        (Some(error), _) => error.clone(),
        (None, Some(note)) => note.clone(),
        (None, None) => String::new(),
    };
    cut(&text, 200)
}

fn cpu(used: &Use) -> String {
    used.cpu_percent
        .map_or_else(String::new, |percent| format!("{percent:.1}%"))
}

fn memory(bytes: u64) -> String {
    match bytes {
        0..=0xf_ffff => format!("{} KiB", bytes >> 10),
        0x10_0000..=0x3fff_ffff => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

fn draw_output(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let following = if model.back == 0 {
        ""
    } else {
        " (not followed; f follows)"
    };
    let search = match &model.search {
        Some(search) => format!(" /{}", search.as_str().trim_start_matches("(?i)")),
        None => String::new(),
    };
    let title = format!(
        " output of {}{following}{search} ",
        cut(&model.lines_of, 40)
    );
    let block = paint.block(title, model.focus == Focus::Output);
    let inner = block.inner(area);
    let end = model.lines.len().saturating_sub(model.back);
    let begin = end.saturating_sub(usize::from(inner.height));
    let lines = model.lines.range(begin..end).map(|line| {
        let mut spans = vec![Span::styled(format!("{} ", time_of(&line.at)), paint.dim())];
        spans.extend(found_in(
            model,
            &cut(&line.text, usize::from(area.width)),
            paint,
        ));
        Line::from(spans)
    });
    let lines: Vec<Line<'_>> = lines.collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// The time of day of a moment.
fn time_of(at: &str) -> &str {
    at.get(11..19).unwrap_or("        ")
}

/// The text, with what is searched for marked.
fn found_in(model: &Model, text: &str, paint: Paint) -> Vec<Span<'static>> {
    let mut spans = Vec::new();
    let mut from = 0;
    for found in model
        .search
        .iter()
        .flat_map(|search| search.find_iter(text))
    {
        spans.push(Span::raw(text[from..found.start()].to_owned()));
        let style = paint.color(Color::Yellow).add_modifier(Modifier::REVERSED);
        spans.push(Span::styled(found.as_str().to_owned(), style));
        from = found.end();
    }
    spans.push(Span::raw(text[from..].to_owned()));
    spans
}

fn draw_missions(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let Some(seen) = &model.seen else { return };
    let rows = seen.missions.iter().map(|mission| {
        let tone = match (mission.awaits_approval, mission.needs_person) {
            (true, _) => paint.color(Color::Cyan),
            (_, true) => paint.color(Color::Yellow),
            _ => paint.dim(),
        };
        Row::new([
            Cell::from(cut(&mission.slug, 40)),
            Cell::from(mission.status.replace('_', " ")).style(tone),
            Cell::from(cut(&mission.text, 200)),
        ])
    });
    let widths = [
        Constraint::Length(26),
        Constraint::Length(17),
        Constraint::Min(20),
    ];
    let title = " missions: a approves, x rejects ".to_owned();
    let mut table =
        Table::new(rows, widths).block(paint.block(title, model.focus == Focus::Missions));
    if model.focus == Focus::Missions {
        table = table.row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    }
    let mut state = TableState::new().with_selected(Some(model.mission));
    frame.render_stateful_widget(table, area, &mut state);
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, model: &Model, paint: Paint) {
    let width = usize::from(area.width);
    let keys = "q quit  ? help  / search  r restart  s stop  u start  m missions  Tab next";
    let line = match &model.mode {
        Mode::Search(text) => Line::raw(format!("/{}_", cut(text, width))),
        Mode::Reason { slug, text } => Line::raw(format!(
            "why is the fix of {} rejected? {text}_",
            cut(slug, 40)
        )),
        Mode::Confirm(order) => {
            let asked = format!(
                "{}? y does it, any other key does not",
                cut(&order.words(), 60)
            );
            Line::styled(asked, paint.strong())
        }
        Mode::Looking | Mode::Help if model.said.is_empty() => Line::styled(keys, paint.dim()),
        Mode::Looking | Mode::Help => Line::raw(cut(&model.said, width)),
    };
    frame.render_widget(Paragraph::new(line), area);
}

fn draw_help(frame: &mut Frame<'_>, area: Rect, paint: Paint) {
    let lines = HELP.iter().map(|(key, what)| {
        let key = Span::styled(format!(" {key:<8} "), paint.strong());
        Line::from(vec![key, Span::raw(*what)])
    });
    let lines: Vec<Line<'_>> = lines.collect();
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX) + 2;
    let [across] = Layout::horizontal([Constraint::Length(74)])
        .flex(ratatui::layout::Flex::Center)
        .areas(area);
    let [middle] = Layout::vertical([Constraint::Length(height)])
        .flex(ratatui::layout::Flex::Center)
        .areas(across);
    frame.render_widget(Clear, middle);
    let block = paint.block(" keys; any key closes this ".to_owned(), true);
    frame.render_widget(Paragraph::new(lines).block(block), middle);
}
