//! Chooses the language and exposes the result.

use std::borrow::Cow;

use oxc::allocator::Allocator;
use oxc::ast::ast::{
    ArrowFunctionExpression, Class, Declaration, ExportSpecifier, Expression, Function,
    ModuleExportName, Program, Statement, TSNamespaceDeclarationBody, ThrowStatement,
};
use oxc::ast_visit::{Visit, walk};
use oxc::diagnostics::OxcDiagnostic;
use oxc::parser::Parser;
use oxc::span::{GetSpan, SourceType, Span};
use oxc::syntax::scope::ScopeFlags;

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
    let javascript = match read(source, SourceType::mjs()) {
        Ok((code, insertions)) => {
            let positions = PositionMap::new(JS_NAME, Vec::new(), insertions);
            return Ok(Prepared { code, positions });
        }
        Err(error) => error,
    };
    match read(source, typescript::source_type()) {
        Ok((text, insertions)) => typescript::strip(&text, insertions),
        // Whoever got further is the better judge of what the author meant.
        Err(typescript) if typescript.offset > javascript.offset => {
            Err(typescript.into_syntax_error(source))
        }
        Err(_) => Err(javascript.into_syntax_error(source)),
    }
}

/// Parses and instruments `source`. The tree, many times as large as its text, is gone before the
/// next reading begins.
fn read(source: &str, source_type: SourceType) -> Result<(String, Vec<Insertion>), ParseError> {
    let allocator = Allocator::default();
    let program = parse(&allocator, source, source_type)?;
    Ok(instrument(source, &program))
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
    edits.apply(&without_source_url(source, program))
}

/// `source` without the comments that would give it another name in V8, which tells the user's
/// places by that name. What marks such a comment is blanked, so nothing moves.
fn without_source_url<'a>(source: &'a str, program: &Program<'_>) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(source);
    for comment in &program.comments {
        let start = comment.span.start as usize;
        let Some(comment) = source.get(start..comment.span.end as usize) else { continue };
        let named = comment
            .strip_prefix("//#")
            .or_else(|| comment.strip_prefix("//@"))
            .is_some_and(|text| text.trim_start().starts_with("sourceURL"));
        if named {
            text.to_mut().replace_range(start + 2..start + 3, " ");
        }
    }
    text
}

/// Finds what is thrown by the module itself. Functions and classes are left as they are: their
/// text can be read by the script, and compiled again where there is no `import.meta`.
#[derive(Default)]
struct Throws {
    edits: Edits,
}

impl<'a> Visit<'a> for Throws {
    fn visit_throw_statement(&mut self, statement: &ThrowStatement<'a>) {
        self.edits.wrap(statement.argument.span(), thrown::CALL);
        walk::walk_throw_statement(self, statement);
    }

    fn visit_function(&mut self, _: &Function<'a>, _: ScopeFlags) {}

    fn visit_arrow_function_expression(&mut self, _: &ArrowFunctionExpression<'a>) {}

    fn visit_class(&mut self, _: &Class<'a>) {}
}

/// The expression whose value is the result: the last statement, unless the author exports a
/// default; and what to put before it. Declarations that run nothing where they stand do not
/// count.
fn result_span(program: &Program<'_>) -> Option<(Span, &'static str)> {
    if program.body.iter().any(is_default_export) {
        return None;
    }
    match program.body.iter().rev().find(|statement| !runs_nothing(statement)) {
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
        // A lone string is read as a directive. The one that means something is only a result when
        // there is nothing it could be meant for.
        None => program
            .directives
            .last()
            .filter(|last| last.directive.as_str() != "use strict" || program.body.is_empty())
            .map(|last| (last.expression.span, RESULT_PREFIX)),
    }
}

fn is_default_export(statement: &Statement<'_>) -> bool {
    let is_default = |name: &ModuleExportName<'_>| name.name().as_str() == "default";
    let any_default =
        |specifiers: &[ExportSpecifier<'_>]| specifiers.iter().any(|one| is_default(&one.exported));
    match statement {
        Statement::ExportDefaultDeclaration(_) => true,
        Statement::ExportNamedDeclaration(export) => any_default(&export.specifiers),
        Statement::ExportFromDeclaration(export) => any_default(&export.specifiers),
        Statement::ExportAllDeclaration(export) => export.exported.as_ref().is_some_and(is_default),
        _ => false,
    }
}

/// Whether nothing happens where `statement` stands: functions are there from the beginning, and
/// types are not there at all.
fn runs_nothing(statement: &Statement<'_>) -> bool {
    match statement {
        Statement::FunctionDeclaration(_) | Statement::ExportNamedDeclaration(_) => true,
        Statement::ExportDeclaration(export) => {
            matches!(export.declaration, Declaration::FunctionDeclaration(_))
                || is_type(&export.declaration)
        }
        _ => leaves_no_code(statement),
    }
}

/// Whether nothing is left of `statement` when types are stripped.
fn leaves_no_code(statement: &Statement<'_>) -> bool {
    match statement {
        Statement::EmptyStatement(_) | Statement::TSNamespaceExportDeclaration(_) => true,
        Statement::ImportDeclaration(import) => import.import_kind.is_type(),
        Statement::ExportDeclaration(export) => is_type(&export.declaration),
        Statement::ExportNamedDeclaration(export) => export.export_kind.is_type(),
        Statement::ExportFromDeclaration(export) => export.export_kind.is_type(),
        Statement::ExportAllDeclaration(export) => export.export_kind.is_type(),
        _ => statement.as_declaration().is_some_and(is_type),
    }
}

fn is_type(declaration: &Declaration<'_>) -> bool {
    match declaration {
        Declaration::TSTypeAliasDeclaration(_)
        | Declaration::TSInterfaceDeclaration(_)
        | Declaration::TSExternalModuleDeclaration(_)
        | Declaration::TSGlobalDeclaration(_) => true,
        Declaration::VariableDeclaration(variable) => variable.declare,
        // Without a body it is an overload.
        Declaration::FunctionDeclaration(function) => function.declare || function.body.is_none(),
        Declaration::ClassDeclaration(class) => class.declare,
        Declaration::TSEnumDeclaration(declaration) => declaration.declare,
        Declaration::TSNamespaceDeclaration(namespace) => {
            namespace.declare || is_empty(&namespace.body)
        }
        Declaration::TSImportEqualsDeclaration(import) => import.import_kind.is_type(),
    }
}

/// Whether a namespace holds nothing but types.
fn is_empty(body: &TSNamespaceDeclarationBody<'_>) -> bool {
    match body {
        TSNamespaceDeclarationBody::TSNamespaceDeclaration(inner) => is_empty(&inner.body),
        TSNamespaceDeclarationBody::TSModuleBlock(block) => block.body.iter().all(leaves_no_code),
    }
}
