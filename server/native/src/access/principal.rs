//! Principals: who calls, by a name of the access file, with rights and limits.

use std::sync::Arc;

/// A set of models: their full names, and beginnings of names. An empty beginning stands for all models.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    pub names: Vec<String>,
    pub prefixes: Vec<String>,
}

impl Patterns {
    /// Whether a model is in the set.
    pub(crate) fn has(&self, model: &str) -> bool {
        self.names.iter().any(|name| name == model)
            || self.prefixes.iter().any(|prefix| model.starts_with(prefix.as_str()))
    }
}

/// Who calls.
#[derive(Debug)]
pub(crate) struct Principal {
    pub name: Arc<str>,
    /// The models that the principal may ask for predictions.
    pub predict: Patterns,
}

impl Principal {
    /// Whether the principal may ask a model, which need not exist, for predictions.
    pub(crate) fn may_predict(&self, model: &str) -> bool {
        self.predict.has(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_is_for_a_name_or_for_all_names_with_a_beginning() {
        let patterns = |names: &[&str], prefixes: &[&str]| Patterns {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            prefixes: prefixes.iter().map(|&prefix| prefix.to_owned()).collect(),
        };
        let may = |predict, model| Principal { name: "shop".into(), predict }.may_predict(model);
        assert!(may(patterns(&["churn"], &[]), "churn") && !may(patterns(&["churn"], &[]), "churn-2"));
        assert!(may(patterns(&[], &["game-"]), "game-x") && !may(patterns(&[], &["game-"]), "game"));
        assert!(may(patterns(&[], &[""]), "any") && !may(Patterns::default(), "any"));
    }
}
