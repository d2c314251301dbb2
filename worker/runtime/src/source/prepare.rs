//! Chooses the language and exposes the result.

use oxc::allocator::Allocator;
use oxc::ast::ast::{Program, Statement};
use oxc::diagnostics::OxcDiagnostic;
use oxc::parser::Parser;
use oxc::span::{GetSpan, SourceType, Span};

use super::{Insertion, JS_NAME, Position, PositionMap, typescript, units};

/// Put before and after the expression whose value is the result. The comma keeps an anonymous
/// function from being named `default`.
const RESULT_PREFIX: &str = "export default (0,";
const RESULT_SUFFIX: &str = ")";

/// A source that V8 can compile.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The text for V8.
    pub(crate) code: String,
    /// Back to the user's text.
    pub(crate) positions: PositionMap,
}

/// A source that does not parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// What is wrong, without a prefix.
    pub(crate) message: String,
    /// Where, in the user's source.
    pub(crate) position: Option<Position>,
}

pub(super) fn prepare(source: &str) -> Result<Prepared, SyntaxError> {
    let allocator = Allocator::default();
    let javascript = match parse(&allocator, source, SourceType::mjs()) {
        Ok(program) => {
            let (code, insertions) = expose_result(source, &program);
            return Ok(Prepared {
                code,
                positions: PositionMap::new(JS_NAME, Vec::new(), insertions),
            });
        }
        Err(error) => error,
    };
    match parse(&allocator, source, typescript::source_type()) {
        Ok(program) => {
            let (text, insertions) = expose_result(source, &program);
            typescript::strip(&text, insertions)
        }
        // Whoever got further is the better judge of what the author meant.
        Err(typescript) if typescript.offset > javascript.offset => {
            Err(typescript.into_syntax_error(source))
        }
        Err(_) => Err(javascript.into_syntax_error(source)),
    }
}

/// The first error of a parse.
pub(super) struct ParseError {
    message: String,
    offset: Option<usize>,
}

impl ParseError {
    pub(super) fn new(diagnostic: &OxcDiagnostic) -> Self {
        let offset = diagnostic.labels.first().map(|label| label.span().start as usize);
        let mut message = diagnostic.message.to_string();
        if let Some(help) = &diagnostic.help {
            message.push_str(". ");
            message.push_str(help);
        }
        Self { message, offset }
    }

    pub(super) fn into_syntax_error(self, source: &str) -> SyntaxError {
        let position = self.offset.map(|offset| Position::of_offset(source, offset));
        SyntaxError { message: self.message, position }
    }
}

pub(super) fn parse<'a>(
    allocator: &'a Allocator,
    source: &'a str,
    source_type: SourceType,
) -> Result<Program<'a>, ParseError> {
    let parsed = Parser::new(allocator, source, source_type).parse();
    match parsed.diagnostics.errors().next() {
        Some(diagnostic) => Err(ParseError::new(diagnostic)),
        None => Ok(parsed.program),
    }
}

/// `source` with its last expression statement as default export, and what was put in.
fn expose_result(source: &str, program: &Program<'_>) -> (String, Vec<Insertion>) {
    let Some(span) = result_span(program) else { return (source.to_owned(), Vec::new()) };
    let (start, end) = (span.start as usize, span.end as usize);
    let (Some(head), Some(expression), Some(tail)) =
        (source.get(..start), source.get(start..end), source.get(end..))
    else {
        return (source.to_owned(), Vec::new());
    };
    let code = [head, RESULT_PREFIX, expression, RESULT_SUFFIX, tail].concat();
    let suffix_at = Position::of_offset(&code, start + RESULT_PREFIX.len() + expression.len());
    let insertions = vec![
        Insertion { at: Position::of_offset(source, start), units: units(RESULT_PREFIX) },
        Insertion { at: suffix_at, units: units(RESULT_SUFFIX) },
    ];
    (code, insertions)
}

/// The expression whose value is the result: the last statement, unless the author exports a
/// default. Declarations that leave no code do not count.
fn result_span(program: &Program<'_>) -> Option<Span> {
    if program.body.iter().any(is_default_export) {
        return None;
    }
    match program.body.iter().rev().find(|statement| !leaves_no_code(statement)) {
        Some(Statement::ExpressionStatement(statement)) => Some(statement.expression.span()),
        Some(_) => None,
        // A lone string is read as a directive.
        None => program.directives.last().map(|directive| directive.expression.span),
    }
}

fn is_default_export(statement: &Statement<'_>) -> bool {
    match statement {
        Statement::ExportDefaultDeclaration(_) => true,
        Statement::ExportNamedDeclaration(export) => export
            .specifiers
            .iter()
            .any(|specifier| specifier.exported.name().as_str() == "default"),
        _ => false,
    }
}

fn leaves_no_code(statement: &Statement<'_>) -> bool {
    matches!(
        statement,
        Statement::EmptyStatement(_)
            | Statement::TSInterfaceDeclaration(_)
            | Statement::TSTypeAliasDeclaration(_)
    )
}
