//! Types out, everything else as it was: enums, namespaces and parameter properties become the
//! code they stand for. No JSX, no down-levelling: V8 runs the newest language.

use std::path::{Path, PathBuf};

use oxc::allocator::Allocator;
use oxc::codegen::{Codegen, CodegenOptions};
use oxc::semantic::SemanticBuilder;
use oxc::span::SourceType;
use oxc::transformer::{TransformOptions, Transformer};

use super::prepare::{ParseError, Prepared, SyntaxError, parse};
use super::{Insertion, Mapping, Position, PositionMap, TS_NAME};

/// TypeScript module without JSX.
pub(super) fn source_type() -> SourceType {
    SourceType::ts().with_module(true)
}

/// Strips `text`, which differs from the user's source by `insertions`.
pub(super) fn strip(text: &str, insertions: Vec<Insertion>) -> Result<Prepared, SyntaxError> {
    let allocator = Allocator::default();
    let in_source = |error: ParseError| {
        let inserted = PositionMap::new(TS_NAME, Vec::new(), insertions.clone());
        let mut error = error.into_syntax_error(text);
        error.position = error.position.map(|position| inserted.map(position));
        error
    };
    let mut program = parse(&allocator, text, source_type()).map_err(in_source)?;
    let semantic =
        SemanticBuilder::new().with_enum_eval(true).with_check_syntax_error(true).build(&program);
    if let Some(diagnostic) = semantic.diagnostics.errors().next() {
        return Err(in_source(ParseError::new(diagnostic)));
    }
    let scoping = semantic.semantic.into_scoping();
    let transformed =
        Transformer::new(&allocator, Path::new(TS_NAME), &TransformOptions::default())
            .build_with_scoping(scoping, &mut program);
    if let Some(diagnostic) = transformed.diagnostics.errors().next() {
        return Err(in_source(ParseError::new(diagnostic)));
    }
    let options =
        CodegenOptions { source_map_path: Some(PathBuf::from(TS_NAME)), ..Default::default() };
    let generated = Codegen::new().with_options(options).with_source_text(text).build(&program);
    let mut mappings: Vec<Mapping> = generated
        .map
        .iter()
        .flat_map(|map| map.get_tokens())
        .map(|token| Mapping {
            compiled: from_zero(token.get_dst_line(), token.get_dst_col()),
            source: from_zero(token.get_src_line(), token.get_src_col()),
        })
        .collect();
    mappings.sort_by_key(|mapping| mapping.compiled);
    let positions = PositionMap::new(TS_NAME, mappings, insertions);
    Ok(Prepared { code: generated.code, positions })
}

fn from_zero(line: u32, column: u32) -> Position {
    Position { line: line + 1, column: column + 1 }
}
