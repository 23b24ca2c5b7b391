//! Texts with parts that are evaluated.

use carrack_diag::Result;
use hcl_edit::template::{Directive, Element, Template};
use serde_json::Value;

use crate::expression::{Locals, Origin, each};
use crate::scope::Scope;
use crate::value::{text, truth};

impl Scope<'_> {
    /// The value of a template: a text, or the value itself where there is nothing beside one.
    pub(crate) fn template(&self, origin: Origin<'_>, template: &Template) -> Result<Value> {
        if let [Element::Interpolation(part)] = template.iter().collect::<Vec<_>>().as_slice() {
            return self.evaluate(origin, &part.expr);
        }
        self.render(origin, template, (false, false)).map(Value::String)
    }

    /// `cuts`: whether what is around it takes blanks from its beginning and its end (`~`).
    fn render(&self, origin: Origin<'_>, template: &Template, cuts: (bool, bool)) -> Result<String> {
        let elements: Vec<&Element> = template.iter().collect();
        let mut whole = String::new();
        for (index, element) in elements.iter().enumerate() {
            match element {
                Element::Literal(literal) => {
                    let before = index.checked_sub(1).map(|index| cut(elements[index]).1);
                    let after = elements.get(index + 1).map(|next| cut(next).0);
                    let mut part = literal.value().as_str();
                    if before.unwrap_or(cuts.0) {
                        part = part.trim_start();
                    }
                    if after.unwrap_or(cuts.1) {
                        part = part.trim_end();
                    }
                    whole.push_str(part);
                }
                Element::Interpolation(part) => {
                    whole.push_str(&text(&self.evaluate(origin, &part.expr)?, origin.of(&part.expr))?);
                }
                Element::Directive(directive) => whole.push_str(&self.directive(origin, directive)?),
            }
            self.spend(whole.len() / (index + 1) + 1, origin.of(template))?;
        }
        Ok(whole)
    }

    fn directive(&self, origin: Origin<'_>, directive: &Directive) -> Result<String> {
        match directive {
            Directive::If(parts) => {
                let condition = &parts.if_expr.cond_expr;
                let is_met = truth(&self.evaluate(origin, condition)?, origin.of(condition))?;
                let end = parts.endif_expr.strip.strip_start();
                match (is_met, &parts.else_expr) {
                    (true, other) => {
                        let end = other.as_ref().map_or(end, |other| other.strip.strip_start());
                        self.render(origin, &parts.if_expr.template, (parts.if_expr.strip.strip_end(), end))
                    }
                    (false, Some(other)) => self.render(origin, &other.template, (other.strip.strip_end(), end)),
                    (false, None) => Ok(String::new()),
                }
            }
            Directive::For(parts) => {
                let head = &parts.for_expr;
                let collection = self.evaluate(origin, &head.collection_expr)?;
                let cuts = (head.strip.strip_end(), parts.endfor_expr.strip.strip_start());
                let mut whole = String::new();
                for (key, value) in each(&collection, origin.of(&head.collection_expr))? {
                    let key = head.key_var.as_ref().map(|name| (name.as_str(), key));
                    let locals = Locals::new(origin.locals, key.into_iter().chain([(head.value_var.as_str(), value)]));
                    whole.push_str(&self.render(origin.with(&locals), &head.template, cuts)?);
                }
                Ok(whole)
            }
        }
    }
}

/// Whether an element takes the blanks before and behind it.
fn cut(element: &Element) -> (bool, bool) {
    match element {
        Element::Literal(_) => (false, false),
        Element::Interpolation(part) => (part.strip.strip_start(), part.strip.strip_end()),
        Element::Directive(directive) => match directive.as_ref() {
            Directive::If(parts) => (parts.if_expr.strip.strip_start(), parts.endif_expr.strip.strip_end()),
            Directive::For(parts) => (parts.for_expr.strip.strip_start(), parts.endfor_expr.strip.strip_end()),
        },
    }
}
