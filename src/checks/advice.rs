//! What to do about an import that fails: which name was meant.

use super::raised::Raised;

/// A name counts as meant if it is that similar (Jaro-Winkler, 0 to 1).
const SIMILARITY_MIN: f64 = 0.85;

/// What to do about a name that a module does not have.
pub(super) fn import_remedy(raised: &Raised) -> String {
    let wanted = raised
        .message
        .strip_prefix("cannot import name '")
        .and_then(|rest| rest.split_once('\''))
        .map(|(name, _)| name);
    let module = raised.name.as_deref().unwrap_or_default();
    let Some(wanted) = wanted else {
        return "correct the name of the module, or add the module".to_owned();
    };
    if raised.message.contains("circular import") {
        return format!(
            "{module} is still being imported when {wanted} is taken from it: break the circle, for \
             example by importing inside of the function that needs it"
        );
    }
    let nearest = raised
        .names
        .iter()
        .map(|name| (strsim::jaro_winkler(name, wanted), name))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, name)) => format!("{module} has no {wanted}, but {name}: correct one of the two"),
        None => format!("define {wanted} in {module}, or import it from where it is"),
    }
}
