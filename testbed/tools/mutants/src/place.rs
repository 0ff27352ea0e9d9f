//! Finds the place of every mutant in the syntax tree.

use std::collections::BTreeMap;
use std::ops::Range;

use proc_macro2::{LineColumn, Span};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::list::{Genre, Mutant, Point};
use crate::splice::{Edit, Kind, Switch};

/// Where the mutants of a file go.
pub struct Placed {
    /// The changes of the text.
    pub edits: Vec<Edit>,
    /// `in`, or why not: `const` (evaluated by the compiler), `let` (in a chain with `let`), `impl` (another
    /// type behind `impl Trait`).
    pub fates: BTreeMap<usize, &'static str>,
}

/// Places the mutants of one file.
pub fn place<'m>(
    source: &str,
    mutants: impl Iterator<Item = (usize, &'m Mutant)>,
) -> syn::Result<Placed> {
    let file = syn::parse_file(source)?;
    let mut waiting: BTreeMap<(Genre2, Point), Vec<(usize, String, Point)>> = BTreeMap::new();
    for (id, m) in mutants {
        let key = (m.genre as Genre2, m.span.start);
        waiting.entry(key).or_default().push((id, m.replacement.clone(), m.span.end));
    }
    let mut placer = Placer {
        source,
        waiting,
        constant: 0,
        placed: Placed { edits: Vec::new(), fates: BTreeMap::new() },
    };
    placer.visit_file(&file);
    Ok(placer.placed)
}

/// A genre as a number, for an order.
type Genre2 = u8;

struct Placer<'a> {
    source: &'a str,
    waiting: BTreeMap<(Genre2, Point), Vec<(usize, String, Point)>>,
    /// How many constant contexts surround the present place.
    constant: usize,
    placed: Placed,
}

fn point(at: LineColumn) -> Point {
    Point { line: at.line, column: at.column + 1 }
}

fn has_let(expr: &syn::Expr) -> bool {
    match expr {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(b) if matches!(b.op, syn::BinOp::And(_)) => {
            has_let(&b.left) || has_let(&b.right)
        }
        _ => false,
    }
}

impl Placer<'_> {
    /// The mutants of a genre that begin at a place; none, and their fate known, where they cannot be switched.
    fn take(&mut self, genre: Genre, span: Span) -> Vec<Switch> {
        let found =
            self.waiting.remove(&(genre as Genre2, point(span.start()))).unwrap_or_default();
        let fate = if self.constant > 0 { "const" } else { "in" };
        for (id, ..) in &found {
            self.placed.fates.insert(*id, fate);
        }
        if self.constant > 0 {
            return Vec::new();
        }
        found.into_iter().map(|(id, text, _)| (id, text)).collect()
    }

    fn edit(&mut self, range: Range<usize>, kind: Kind) {
        self.placed.edits.push(Edit { range, kind });
    }

    fn body(&mut self, sig: &syn::Signature, block: &syn::Block, inside: impl FnOnce(&mut Self)) {
        let outer = std::mem::take(&mut self.constant);
        if let Some(first) = block.stmts.first() {
            let switches = self.take(Genre::FnValue, first.span());
            let opaque = matches!(&sig.output, syn::ReturnType::Type(_, t) if matches!(**t, syn::Type::ImplTrait(_)));
            if opaque {
                self.placed.fates.extend(switches.iter().map(|(id, _)| (*id, "impl")));
            } else if !switches.is_empty() {
                let at = first.span().byte_range().start;
                self.edit(at..at, Kind::Body(switches));
            }
        }
        inside(self);
        self.constant = outer;
    }

    fn constant(&mut self, inside: impl FnOnce(&mut Self)) {
        self.constant += 1;
        inside(self);
        self.constant -= 1;
    }

    fn binary(&mut self, e: &syn::ExprBinary) {
        let switches = self.take(Genre::BinaryOperator, e.op.span());
        if switches.is_empty() {
            return;
        }
        if matches!(e.op, syn::BinOp::And(_)) && (has_let(&e.left) || has_let(&e.right)) {
            for (id, _) in switches {
                self.placed.fates.insert(id, "let");
            }
            return;
        }
        let kind = Kind::Binary {
            left: e.left.span().byte_range(),
            right: e.right.span().byte_range(),
            op: self.source[e.op.span().byte_range()].to_owned(),
            switches,
        };
        self.edit(e.span().byte_range(), kind);
    }

    fn unary(&mut self, e: &syn::ExprUnary) {
        let operand = e.expr.span().byte_range();
        for (id, _) in self.take(Genre::UnaryOperator, e.op.span()) {
            let whole = e.span().byte_range();
            let op = self.source[whole.start..operand.start].to_owned();
            self.edit(whole, Kind::Unary { operand: operand.clone(), op, id });
        }
    }

    fn arm(&mut self, a: &syn::Arm) {
        let deleted = self.take(Genre::MatchArm, a.span());
        match &a.guard {
            None => {
                let at = a.pat.span().byte_range().end;
                for (id, _) in deleted {
                    self.edit(at..at, Kind::Arm(id));
                }
            }
            Some((_, guard)) => {
                let mut no: Vec<usize> = deleted.into_iter().map(|(id, _)| id).collect();
                let mut yes = Vec::new();
                for (id, to) in self.take(Genre::MatchArmGuard, guard.span()) {
                    if to == "true" { yes.push(id) } else { no.push(id) }
                }
                if !(yes.is_empty() && no.is_empty()) {
                    self.edit(guard.span().byte_range(), Kind::Guard { yes, no });
                }
            }
        }
    }

    fn fields(&mut self, e: &syn::ExprStruct) {
        let Some(base) = &e.rest else { return };
        let base = &self.source[base.span().byte_range()];
        for field in &e.fields {
            let syn::Member::Named(name) = &field.member else { continue };
            for (id, _) in self.take(Genre::StructField, field.span()) {
                let short = field.colon_token.is_none();
                let prefix = if short { format!("{name}: ") } else { String::new() };
                let base = format!("({base}).{name}");
                let range = field.expr.span().byte_range();
                self.edit(range, Kind::Field { name: prefix, base, id });
            }
        }
    }
}

impl<'ast> Visit<'ast> for Placer<'_> {
    fn visit_item_fn(&mut self, f: &'ast syn::ItemFn) {
        self.body(&f.sig, &f.block, |p| visit::visit_item_fn(p, f));
    }

    fn visit_impl_item_fn(&mut self, f: &'ast syn::ImplItemFn) {
        self.body(&f.sig, &f.block, |p| visit::visit_impl_item_fn(p, f));
    }

    fn visit_trait_item_fn(&mut self, f: &'ast syn::TraitItemFn) {
        if let Some(block) = &f.default {
            self.body(&f.sig, block, |p| visit::visit_trait_item_fn(p, f));
        }
    }

    fn visit_item_const(&mut self, i: &'ast syn::ItemConst) {
        self.constant(|p| visit::visit_item_const(p, i));
    }

    fn visit_impl_item_const(&mut self, i: &'ast syn::ImplItemConst) {
        self.constant(|p| visit::visit_impl_item_const(p, i));
    }

    fn visit_item_static(&mut self, i: &'ast syn::ItemStatic) {
        self.constant(|p| visit::visit_item_static(p, i));
    }

    fn visit_expr_const(&mut self, e: &'ast syn::ExprConst) {
        self.constant(|p| visit::visit_expr_const(p, e));
    }

    fn visit_type_array(&mut self, t: &'ast syn::TypeArray) {
        self.constant(|p| visit::visit_type_array(p, t));
    }

    fn visit_variant(&mut self, v: &'ast syn::Variant) {
        self.constant(|p| visit::visit_variant(p, v));
    }

    fn visit_expr_repeat(&mut self, e: &'ast syn::ExprRepeat) {
        self.visit_expr(&e.expr);
        self.constant(|p| p.visit_expr(&e.len));
    }

    fn visit_expr_binary(&mut self, e: &'ast syn::ExprBinary) {
        self.binary(e);
        visit::visit_expr_binary(self, e);
    }

    fn visit_expr_unary(&mut self, e: &'ast syn::ExprUnary) {
        self.unary(e);
        visit::visit_expr_unary(self, e);
    }

    fn visit_arm(&mut self, a: &'ast syn::Arm) {
        self.arm(a);
        visit::visit_arm(self, a);
    }

    fn visit_expr_struct(&mut self, e: &'ast syn::ExprStruct) {
        self.fields(e);
        visit::visit_expr_struct(self, e);
    }
}
