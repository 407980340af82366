//! The host's router in small: which endpoint a path is of.

use governance_app::Endpoint;

type Parameters = Vec<(String, String)>;

/// Finds the endpoint of a path; literal segments win over parameters.
pub fn route(method: &str, path: &str) -> Option<(Endpoint, Parameters)> {
    let parts: Vec<&str> = path.split('/').collect();
    let mut found: Vec<(Endpoint, Parameters)> = Vec::new();
    for endpoint in Endpoint::ALL {
        let spec = endpoint.spec();
        let template: Vec<&str> = spec.path.split('/').collect();
        if spec.method.as_str() != method || template.len() != parts.len() {
            continue;
        }
        let is_parameter = |t: &str| t.starts_with('{');
        if template
            .iter()
            .zip(&parts)
            .all(|(t, p)| is_parameter(t) || t == p)
        {
            let parameters: Vec<_> = template
                .iter()
                .zip(&parts)
                .filter(|(t, _)| is_parameter(t))
                .map(|(t, p)| (t.trim_matches(['{', '}']).to_owned(), (*p).to_owned()))
                .collect();
            found.push((*endpoint, parameters));
        }
    }
    found.into_iter().min_by_key(|(_, parameters)| parameters.len())
}
