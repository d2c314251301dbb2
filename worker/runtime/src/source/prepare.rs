//! Chooses the language and exposes the result.

use oxc::allocator::Allocator;
use oxc::ast::ast::{Expression, Program, Statement, ThrowStatement};
use oxc::ast_visit::{Visit, walk};
use oxc::diagnostics::OxcDiagnostic;
use oxc::parser::Parser;
use oxc::span::{GetSpan, SourceType, Span};

use super::edits::Edits;
use super::{Insertion, JS_NAME, Position, PositionMap, typescript};
use crate::thrown;

/// Put before and after the expression whose value is the result.
const RESULT_PREFIX: &str = "export default (";
const RESULT_SUFFIX: &str = ")";

/// The prefix for a function or class: the comma keeps one without a name from being named
/// `default`. Elsewhere it would move the place that V8 gives for an error.
const FUNCTION_RESULT_PREFIX: &str = "export default (0,";

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
            let (code, insertions) = instrument(source, &program);
            return Ok(Prepared {
                code,
                positions: PositionMap::new(JS_NAME, Vec::new(), insertions),
            });
        }
        Err(error) => error,
    };
    match parse(&allocator, source, typescript::source_type()) {
        Ok(program) => {
            let (text, insertions) = instrument(source, &program);
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

/// `source` with its last expression statement as default export and its throws noted, and what was
/// put in for that.
fn instrument(source: &str, program: &Program<'_>) -> (String, Vec<Insertion>) {
    let mut throws = Throws::default();
    throws.visit_program(program);
    let mut edits = throws.edits;
    if let Some((span, prefix)) = result_span(program) {
        edits.wrap(span, (prefix, RESULT_SUFFIX));
    }
    edits.apply(source)
}

/// Finds what is thrown.
#[derive(Default)]
struct Throws {
    edits: Edits,
}

impl<'a> Visit<'a> for Throws {
    fn visit_throw_statement(&mut self, statement: &ThrowStatement<'a>) {
        self.edits.wrap(statement.argument.span(), thrown::CALL);
        walk::walk_throw_statement(self, statement);
    }
}

/// The expression whose value is the result: the last statement, unless the author exports a
/// default; and what to put before it. Declarations that leave no code do not count.
fn result_span(program: &Program<'_>) -> Option<(Span, &'static str)> {
    if program.body.iter().any(is_default_export) {
        return None;
    }
    match program.body.iter().rev().find(|statement| !leaves_no_code(statement)) {
        Some(Statement::ExpressionStatement(statement)) => {
            let expression = &statement.expression;
            let prefix = match expression.get_inner_expression() {
                Expression::FunctionExpression(_)
                | Expression::ArrowFunctionExpression(_)
                | Expression::ClassExpression(_) => FUNCTION_RESULT_PREFIX,
                _ => RESULT_PREFIX,
            };
            Some((expression.span(), prefix))
        }
        Some(_) => None,
        // A lone string is read as a directive.
        None => {
            program.directives.last().map(|directive| (directive.expression.span, RESULT_PREFIX))
        }
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
