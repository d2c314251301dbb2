//! Options about who may use the server, and how much of it.

use std::path::PathBuf;

use clap::{Args, value_parser};

use crate::access::limit::PrincipalLimits;
use crate::access::{Algorithm, Rules, Settings, Source};
use crate::limits::{
    PRINCIPAL_CONCURRENT_MAX, PRINCIPAL_RATE_MAX, TOKEN_LEEWAY_SECS_DEFAULT, TOKEN_LEEWAY_SECS_MAX,
};

const ACCESS: &str = "Access";

/// Who may use the server, and how much of it.
#[derive(Debug, Clone, Args)]
pub struct AccessArgs {
    /// Ask every client for a bearer token (JWT), signed with a key of this JSON Web Key Set: https://…,
    /// http:// at a loopback address, or a file. Each user has sessions, executions, heaps and artifacts
    /// of its own
    #[arg(long, value_name = "URL", help_heading = ACCESS)]
    pub jwks_url: Option<String>,

    /// With --jwks-url: also take keys over plain HTTP from other machines
    #[arg(long, help_heading = ACCESS)]
    pub jwks_allow_http: bool,

    /// With --jwks-url: issuers (iss) of tokens, separated by commas [default: any]
    #[arg(long, value_name = "ISSUER", value_delimiter = ',', help_heading = ACCESS)]
    pub jwt_issuer: Vec<String>,

    /// With --jwks-url: audiences (aud), one of which a token must be for, separated by commas
    /// [default: any]
    #[arg(long, value_name = "AUDIENCE", value_delimiter = ',', help_heading = ACCESS)]
    pub jwt_audience: Vec<String>,

    /// With --jwks-url: algorithms of signatures, separated by commas [default: RS256, RS384, RS512,
    /// PS256, PS384, PS512, ES256, ES384, EdDSA]
    #[arg(long, value_name = "ALG", value_delimiter = ',', help_heading = ACCESS)]
    pub jwt_algorithms: Vec<Algorithm>,

    /// With --jwks-url: seconds by which the clocks of this machine and the issuer may differ
    #[arg(
        long, value_name = "S", default_value_t = TOKEN_LEEWAY_SECS_DEFAULT, help_heading = ACCESS,
        value_parser = value_parser!(u64).range(..=TOKEN_LEEWAY_SECS_MAX)
    )]
    pub jwt_leeway_secs: u64,

    /// With --jwks-url: the scope (scope or scp) of operators, who may see and lift the quarantine
    /// [default: nobody may, over HTTP]
    #[arg(long, value_name = "SCOPE", help_heading = ACCESS)]
    pub jwt_operator_scope: Option<String>,

    /// With --jwks-url: the URL by which clients know this server's MCP, such as
    /// https://v8.example/mcp. They are then told at /.well-known/oauth-protected-resource whom to ask
    /// for a token; needs --jwt-issuer
    #[arg(long, value_name = "URL", help_heading = ACCESS)]
    pub jwt_resource: Option<String>,

    /// Executions that one user may have running or waiting, in the whole cluster [default: no bound of
    /// its own]. Without --jwks-url all are one user
    #[arg(
        long, value_name = "N", help_heading = ACCESS,
        value_parser = value_parser!(u32).range(1..=i64::from(PRINCIPAL_CONCURRENT_MAX))
    )]
    pub principal_concurrent_max: Option<u32>,

    /// Scripts that one user may submit to this server in a minute [default: no bound of its own].
    /// Without --jwks-url all are one user
    #[arg(
        long, value_name = "N", help_heading = ACCESS,
        value_parser = value_parser!(u32).range(1..=i64::from(PRINCIPAL_RATE_MAX))
    )]
    pub principal_rate_max: Option<u32>,

    /// Serve --http-port and --sse-port over TLS, with this certificate and those between it and its
    /// authority (PEM). It is taken up within seconds when it is replaced
    #[arg(long, value_name = "FILE", help_heading = ACCESS)]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert (PEM); nobody but the server's user and group may read it
    #[arg(long, value_name = "FILE", help_heading = ACCESS)]
    pub tls_key: Option<PathBuf>,
}

impl AccessArgs {
    /// What each user may have.
    pub fn limits(&self) -> PrincipalLimits {
        PrincipalLimits {
            running_max: self.principal_concurrent_max,
            rate_max: self.principal_rate_max,
        }
    }

    /// How tokens are verified, if they are asked for.
    ///
    /// # Errors
    /// A sentence that names the flag.
    pub fn settings(&self) -> Result<Option<Settings>, String> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => return Err("--tls-cert is given, --tls-key is not".to_owned()),
            (None, Some(_)) => return Err("--tls-key is given, --tls-cert is not".to_owned()),
            _ => {}
        }
        let Some(text) = &self.jwks_url else {
            let given = [
                ("--jwks-allow-http", self.jwks_allow_http),
                ("--jwt-issuer", !self.jwt_issuer.is_empty()),
                ("--jwt-audience", !self.jwt_audience.is_empty()),
                ("--jwt-algorithms", !self.jwt_algorithms.is_empty()),
                ("--jwt-leeway-secs", self.jwt_leeway_secs != TOKEN_LEEWAY_SECS_DEFAULT),
                ("--jwt-operator-scope", self.jwt_operator_scope.is_some()),
                ("--jwt-resource", self.jwt_resource.is_some()),
            ];
            return match given.into_iter().find(|(_, given)| *given) {
                Some((flag, _)) => Err(format!("{flag} is about tokens: give --jwks-url as well")),
                None => Ok(None),
            };
        };
        let source = Source::parse(text, self.jwks_allow_http)
            .map_err(|problem| format!("--jwks-url {problem}"))?;
        for (flag, values) in
            [("--jwt-issuer", &self.jwt_issuer), ("--jwt-audience", &self.jwt_audience)]
        {
            if values.iter().any(String::is_empty) {
                return Err(format!(
                    "{flag} has an empty text; accepted: texts separated by commas"
                ));
            }
        }
        if let Some(scope) = &self.jwt_operator_scope
            && (scope.is_empty() || scope.contains(' '))
        {
            return Err(
                "--jwt-operator-scope is one scope: accepted: a text without spaces".to_owned()
            );
        }
        if let Some(resource) = &self.jwt_resource {
            if self.jwt_issuer.is_empty() {
                return Err(
                    "--jwt-resource tells clients whom to ask for a token: give --jwt-issuer \
                            as well"
                        .to_owned(),
                );
            }
            let url = reqwest::Url::parse(resource).ok();
            let good = |url: &reqwest::Url| {
                matches!(url.scheme(), "http" | "https") && url.fragment().is_none()
            };
            if !url.as_ref().is_some_and(good) {
                return Err(format!(
                    "--jwt-resource '{resource}' is no URL; accepted: something like \
                     https://v8.example/mcp"
                ));
            }
        }
        let algorithms = match &self.jwt_algorithms[..] {
            [] => Algorithm::ALL.to_vec(),
            some => some.to_vec(),
        };
        let rules = Rules {
            issuers: self.jwt_issuer.clone(),
            audiences: self.jwt_audience.clone(),
            algorithms,
            leeway_secs: self.jwt_leeway_secs,
            operator_scope: self.jwt_operator_scope.clone(),
        };
        Ok(Some(Settings { source, rules, resource: self.jwt_resource.clone() }))
    }

    /// The flags that are of no use to a server without a port for clients, and whether they were given.
    pub fn for_ports(&self) -> [(&'static str, bool); 2] {
        [("--jwks-url", self.jwks_url.is_some()), ("--tls-cert", self.tls_cert.is_some())]
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::parse;
    use crate::access::Algorithm;

    const KEYS: &str = "--jwks-url=https://i.example/k";

    fn parsed(words: &[&str]) -> Result<super::AccessArgs, String> {
        let words = std::iter::once("mcp-v8").chain(words.iter().copied()).map(OsString::from);
        parse(words).map(|args| args.access).map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (words, expected) in [
            (&["--jwks-url=http://i.example/k"][..], "--jwks-allow-http"),
            (&["--jwks-url=k"], "accepted: https://"),
            (&["--jwt-audience=a"], "--jwks-url"),
            (&["--jwt-algorithms=RS256"], "--jwks-url"),
            (&[KEYS, "--jwt-algorithms=HS256"], "accepted: RS256"),
            (&[KEYS, "--jwt-algorithms=none"], "accepted: RS256"),
            (&[KEYS, "--jwt-issuer="], "--jwt-issuer"),
            (&[KEYS, "--jwt-operator-scope=a b"], "without spaces"),
            (&[KEYS, "--jwt-resource=https://v8.example/mcp"], "--jwt-issuer"),
            (&[KEYS, "--jwt-issuer=i", "--jwt-resource=v8"], "https://v8.example/mcp"),
            (&["--tls-cert=c"], "--tls-key"),
            (&["--tls-key=k"], "--tls-cert"),
        ] {
            let error = parsed(words).unwrap_err();
            assert!(error.contains(expected), "{words:?}: {error}");
        }
        let args = parsed(&[KEYS, "--jwt-algorithms=ES256,EdDSA", "--jwt-issuer=i,j"]).unwrap();
        let rules = args.settings().unwrap().unwrap().rules;
        assert_eq!(rules.algorithms, [Algorithm::Es256, Algorithm::EdDsa]);
        assert_eq!((rules.issuers.len(), rules.leeway_secs), (2, 60));
        assert!(parsed(&[]).unwrap().settings().unwrap().is_none());
    }

    #[test]
    fn bounds_pass_and_one_past_them_does_not() {
        for (flag, at, past) in [
            ("jwt-leeway-secs", ["0", "600"], ["-1", "601"]),
            ("principal-concurrent-max", ["1", "100000"], ["0", "100001"]),
            ("principal-rate-max", ["1", "1000000"], ["0", "1000001"]),
        ] {
            for value in at {
                assert!(parsed(&[KEYS, &format!("--{flag}={value}")]).is_ok(), "{flag}={value}");
            }
            for value in past {
                let error = parsed(&[KEYS, &format!("--{flag}={value}")]).unwrap_err();
                assert!(error.contains(flag), "{error}");
            }
        }
    }
}
