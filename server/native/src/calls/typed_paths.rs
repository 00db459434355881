//! The models that the paths of typed services name, whether there are such models or not.

const SERVICES: &str = "/scorewire.models.";

/// The model of a typed service's path, as `model_of` in the package `scorewire_contract` reads it; `None` for a path
/// of another kind.
pub(crate) fn model(path: &str) -> Option<String> {
    let name = path.strip_prefix(SERVICES)?.split(['.', '/']).next()?;
    if name.contains("_H") {
        return Some(name.replace("_H", "-"));
    }
    let mut model = String::with_capacity(2 * name.len());
    let mut rest = name.chars();
    while let Some(letter) = rest.next() {
        if letter.is_ascii_uppercase() {
            model.push('-');
            // This one stands before a digit, which has no capital.
            if letter == 'N'
                && rest.as_str().trim_start_matches('n').starts_with(|next: char| next.is_ascii_digit())
            {
                continue;
            }
        }
        model.push(letter.to_ascii_lowercase());
    }
    Some(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_of_a_path_is_that_of_its_package() {
        for (path, found) in [
            ("/scorewire.models.churn.v1.ChurnService/Predict", Some("churn")),
            ("/scorewire.models.gameTime.v12.GameTimeService/Predict", Some("game-time")),
            ("/scorewire.models.churnN2024.v1.Churn2024Service/Predict", Some("churn-2024")),
            ("/scorewire.models.churnNn2024.v1.ChurnN2024Service/Predict", Some("churn-n2024")),
            ("/scorewire.models.game_Htime.v1.GameTimeService/Predict", Some("game-time")),
            ("/scorewire.models.a_Hb_c.v1.ABCService/Predict", Some("a-b_c")),
            ("/scorewire.models.", Some("")),
            ("/scorewire.v1.PredictionService/Predict", None),
            ("", None),
        ] {
            assert_eq!(model(path).as_deref(), found, "{path}");
        }
    }
}
