//! What to say if the application object cannot be had.

use super::routers::target;
use crate::checks::advice::{advise, general_remedy};
use crate::checks::as_run::AsRun;
use crate::checks::context::CheckContext;
use crate::checks::outcome::CheckOutcome;
use crate::checks::packages::Packages;
use crate::checks::python::{NoAnswer, PythonHost};
use crate::checks::raised::Raised;
use crate::domain::code::Code;
use crate::domain::finding::{Finding, Measured, Severity};
use crate::domain::remedy::Cause;
use crate::domain::words::count;
use crate::manifest::{AppObject, Registration};

/// What to say if the application object cannot be had.
pub(super) struct Loader<'a> {
    pub context: &'a CheckContext<'a>,
    pub registration: &'a Registration,
    pub app: &'a AppObject,
}

impl Loader<'_> {
    fn target(&self) -> String {
        target(self.app)
    }

    /// The module raised something. `host`: what the interpreter says of itself.
    pub(super) fn raised(&self, raised: &Raised, host: Option<&PythonHost>) -> Finding {
        let packages = host.map(|host| Packages::read(self.context, host));
        let packages = packages.as_ref();
        let redactor = self.context.redactor;
        let location = raised.location(redactor);
        let place = location
            .as_ref()
            .map_or_else(String::new, |l| format!(" ({}:{})", l.file, l.line));
        let cause = self.context.sandbox_cause(raised);
        let (severity, why) = match &cause {
            Some(cause) => (
                Severity::Warning,
                format!("; {}", cause.why("check", redactor)),
            ),
            None => (Severity::Critical, String::new()),
        };
        let remedy = match &cause {
            Some(cause) => cause.remedy("application").unwrap_or_else(|| {
                "let the application write when it runs and not while it is imported".to_owned()
            }),
            None => {
                let module = &self.app.module;
                let as_run = AsRun::of_module(self.context, module);
                let known = advise(self.context, &as_run, packages, raised);
                general_remedy(self.context, packages, raised, module, known.as_ref())
            }
        };
        let message = format!(
            "the application {} cannot be loaded: {}{place}{why}",
            self.target(),
            raised.line(redactor)
        );
        let mut finding = Finding::new(
            Code::RegistrationAppUnloadable,
            severity,
            self.target(),
            message,
        )
        .remedy(remedy)
        .cause(Cause::Exception(raised.text(redactor)))
        .fact("module", self.app.module.as_str());
        finding.location = location;
        finding.detail = raised.detail(redactor);
        finding
    }

    pub(super) fn no_answer(&self, why: &NoAnswer) -> Finding {
        let mut finding = Finding::of(
            Code::RegistrationAppUnloadable,
            self.target(),
            format!("loading the application {} {}", self.target(), why.why),
        )
        .remedy(
            "an application object must exist after the import alone, without running anything",
        );
        finding.location = why.location.clone();
        finding.detail = why.output.clone();
        finding
    }

    pub(super) fn unloadable(&self, finding: Finding) -> CheckOutcome {
        let expected = self.registration.services.len();
        CheckOutcome {
            summary: format!(
                "none of {} can be looked at: the application cannot be loaded",
                count(expected, "service")
            ),
            findings: vec![finding],
            measured: Measured::Registration {
                expected: u32::try_from(expected).unwrap_or(u32::MAX),
                mounted: 0,
                routes: 0,
                coverage_per_mille: 0,
            },
            skipped: false,
        }
    }
}
