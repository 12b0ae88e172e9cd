//! What a person sees, at 80 columns and without colour.

use std::path::Path;

use miette::{GraphicalReportHandler, GraphicalTheme};

use crate::manifest::{Manifest, ManifestError};

pub(in crate::manifest) fn render(error: &ManifestError) -> String {
    let mut shown = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(80)
        .render_report(&mut shown, error)
        .unwrap();
    shown
}

fn mistake(text: &str) -> String {
    render(&Manifest::parse(text, Path::new("ubs.toml")).unwrap_err())
}

#[test]
fn typical_mistakes() {
    let cases = [
        (
            "unknown_key",
            "[app]\nname = \"shop\"\n\n[[layer]]\nname = \"api\"\ncritcal = false\n",
        ),
        (
            "wrong_type",
            "[app]\nname = \"shop\"\n\n[[layer]]\nname = \"api\"\ncritical = \"no\"\n",
        ),
        (
            "no_unit",
            "[app]\nname = \"shop\"\n\n[validate]\nevery = 60\n",
        ),
        (
            "shell",
            "[app]\nname = \"shop\"\n[[layer]]\nname = \"api\"\n[[layer.service]]\nname = \"api\"\nrun = \"uvicorn backend.main:app > api.log\"\n",
        ),
        (
            "cycle",
            "[app]\nname = \"shop\"\n[[layer]]\nname = \"database\"\nafter = [\"api\"]\n[[layer]]\nname = \"cache\"\n[[layer]]\nname = \"api\"\nafter = [\"cache\"]\n",
        ),
        (
            "unsupported",
            "[app]\nname = \"shop\"\n\n[heal]\nplaybooks = []\n",
        ),
        (
            "secret_with_default",
            "[app]\nname = \"shop\"\n\n[config.vars.SECRET_KEY]\nsecret = true\ndefault = \"change-me\"\n",
        ),
        ("syntax", "[app]\nname = \"shop\n"),
        (
            "several",
            "[app]\nnam = \"shop\"\n\n[[layer]]\nname = \"api\"\nafter = [\"databse\"]\n\n[[layer.service]]\nname = \"api\"\nrestart = \"allways\"\n\n[heal.policy]\ndestructive = \"auto\"\n",
        ),
    ];
    for (name, text) in cases {
        insta::assert_snapshot!(name, mistake(text), text);
    }
}

#[test]
fn a_missing_file() {
    let error = Manifest::load(Path::new("/nonexistent/ubs.toml")).unwrap_err();
    insta::assert_snapshot!("missing_file", render(&error));
}

#[test]
fn the_text_of_a_manifest_cannot_steer_the_terminal() {
    let shown =
        mistake("[app]\nname = \"shop\"\n\"\u{202e}\" = 1 # \u{9b}31m\n\"\\u001b[2J\" = 2\n");
    assert!(!shown.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{shown}");
}
