//! What stands between operators: words, brackets, calls, and what is attached to them.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a rule of the grammar names the words that it takes, every other one is a fault"
)]

use super::{Parsed, Parser, Tree, nodes, unexpected};
use crate::filter::expr::ast::{Function, Node, Pointer, Predicate};
use crate::filter::expr::builtin::Builtin;
use crate::filter::expr::lexer::Token;
use crate::filter::expr::with::With;

/// Binding strength of the prefixes `not` and `!`.
const NOT: u16 = 50;

/// Binding strength of the prefixes `-` and `+`.
const SIGN: u16 = 90;

impl Parser {
    pub(super) fn primary(&mut self) -> Parsed {
        let tree = match &self.current {
            Token::Sign("not" | "!") => {
                self.advance();
                let of = self.expression(NOT)?;
                Tree::above(of.height, Node::Not(of.boxed()))?
            }
            Token::Sign(sign @ ("-" | "+")) => {
                let negative = *sign == "-";
                self.advance();
                let of = self.expression(SIGN)?;
                Tree::above(
                    of.height,
                    Node::Sign {
                        negative,
                        of: of.boxed(),
                    },
                )?
            }
            Token::Sign("(") => {
                self.advance();
                let tree = self.nested(Self::sequence)?;
                self.expect(")")?;
                tree
            }
            Token::Sign("#") if self.predicates > 0 => {
                self.advance();
                Tree::leaf(Node::Pointer(self.pointer()?))
            }
            Token::Sign(".") if self.predicates > 0 => Tree::leaf(Node::Pointer(Pointer::Element)),
            Token::Sign("::") => {
                self.advance();
                let name = self.expect_name()?;
                self.call(name, Vec::new())?
            }
            Token::Sign("[") => self.list()?,
            Token::Sign("{") => self.map()?,
            Token::Sign(_) | Token::End => return Err(unexpected(&self.current)),
            Token::Name(_) | Token::Text(_) | Token::Int(_) | Token::Float(_) => {
                return self.word();
            }
        };
        self.postfix(tree)
    }

    fn word(&mut self) -> Parsed {
        let tree = match self.advance() {
            Token::Int(number) => return Ok(Tree::leaf(Node::Int(number))),
            Token::Float(number) => return Ok(Tree::leaf(Node::Float(number))),
            Token::Text(text) => Tree::leaf(Node::Text(text)),
            Token::Name(name) => match name.as_str() {
                "true" => return Ok(Tree::leaf(Node::Bool(true))),
                "false" => return Ok(Tree::leaf(Node::Bool(false))),
                "nil" => return Ok(Tree::leaf(Node::Nil)),
                _ if self.is("(") => self.call(name, Vec::new())?,
                _ => Tree::leaf(Node::Name(name)),
            },
            other @ (Token::Sign(_) | Token::End) => return Err(unexpected(&other)),
        };
        self.postfix(tree)
    }

    fn pointer(&mut self) -> Result<Pointer, String> {
        let pointer = match &self.current {
            Token::Name(name) => match name.as_str() {
                "index" => Pointer::Index,
                "acc" => Pointer::Accumulator,
                _ => return Err(format!("unknown pointer #{name}")),
            },
            Token::Text(_) | Token::Int(_) | Token::Float(_) | Token::Sign(_) | Token::End => {
                return Ok(Pointer::Element);
            }
        };
        self.advance();
        Ok(pointer)
    }

    fn list(&mut self) -> Parsed {
        self.expect("[")?;
        let mut elements = Vec::new();
        while !self.is("]") {
            elements.push(self.expression(0)?);
            if !self.take(",") {
                break;
            }
        }
        self.expect("]")?;
        let (elements, height) = nodes(elements);
        Tree::above(height, Node::List(elements))
    }

    fn map(&mut self) -> Parsed {
        self.expect("{")?;
        let mut pairs = Vec::new();
        let mut height = 0;
        while !self.is("}") {
            let key = match &self.current {
                Token::Name(name) | Token::Text(name) => Tree::leaf(Node::Text(name.clone())),
                Token::Int(number) => Tree::leaf(Node::Text(number.to_string())),
                Token::Float(number) => Tree::leaf(Node::Text(number.to_string())),
                Token::Sign("(") => self.expression(0)?,
                Token::Sign(_) | Token::End => return Err(unexpected(&self.current)),
            };
            if !self.is(":") {
                self.advance();
            }
            self.expect(":")?;
            let value = self.expression(0)?;
            height = height.max(key.height).max(value.height);
            pairs.push((key.node, value.node));
            if !self.take(",") {
                break;
            }
        }
        self.expect("}")?;
        Tree::above(height, Node::Map(pairs))
    }

    /// Reads the brackets of a call; `arguments` holds the left side of a pipe.
    pub(super) fn call(&mut self, name: String, arguments: Vec<Tree>) -> Parsed {
        if let Some(kind) = Predicate::by_name(&name) {
            return self.predicate(kind, arguments);
        }
        let arguments = self.arguments(arguments)?;
        let (mut arguments, height) = nodes(arguments);
        let node = match (
            Builtin::by_name(&name),
            Function::by_name(&name, self.language),
        ) {
            (Some(builtin), _) => Node::Builtin(builtin?, arguments),
            (None, Some(Function::With)) => match (arguments.pop(), arguments.is_empty()) {
                (Some(Node::Text(text)), true) => {
                    self.count_pattern()?;
                    Node::With(Box::new(With::new(&text)))
                }
                (last, _) => {
                    arguments.extend(last);
                    Node::Call(Function::With, arguments)
                }
            },
            (None, Some(function)) => Node::Call(function, arguments),
            (None, None) => Node::External(name, arguments),
        };
        Tree::above(height, node)
    }

    fn arguments(&mut self, mut arguments: Vec<Tree>) -> Result<Vec<Tree>, String> {
        self.expect("(")?;
        while !self.is(")") {
            arguments.push(self.expression(0)?);
            if !self.take(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(arguments)
    }

    fn predicate(&mut self, kind: Predicate, mut arguments: Vec<Tree>) -> Parsed {
        self.expect("(")?;
        let over = match arguments.pop() {
            Some(over) => over,
            None => {
                let over = self.expression(0)?;
                if !self.is(")") {
                    self.expect(",")?;
                }
                over
            }
        };
        let mut height = over.height;
        let mut test = None;
        let mut start = None;
        if self.is(")") {
            if !matches!(kind, Predicate::Count | Predicate::Sum) {
                return Err("a predicate is missing".to_owned());
            }
        } else {
            let tree = self.predicate_body()?;
            height = height.max(tree.height);
            test = Some(tree.boxed());
            if self.take(",") && kind == Predicate::Reduce && !self.is(")") {
                let tree = self.expression(0)?;
                height = height.max(tree.height);
                start = Some(tree.boxed());
                self.take(",");
            }
        }
        self.expect(")")?;
        Tree::above(
            height,
            Node::Predicate {
                kind,
                over: over.boxed(),
                test,
                start,
            },
        )
    }

    fn predicate_body(&mut self) -> Parsed {
        self.predicates += 1;
        let tree = if self.is("{") {
            self.block()
        } else {
            self.expression(0)
        };
        self.predicates -= 1;
        tree
    }

    /// Reads what is attached to a value: members, elements, slices, calls.
    pub(super) fn postfix(&mut self, mut tree: Tree) -> Parsed {
        let mut is_chain = false;
        loop {
            let optional = self.is("?.");
            if optional || self.is(".") {
                self.advance();
                is_chain |= optional;
                tree = if optional && self.take("[") {
                    self.element(tree, true)?
                } else {
                    self.member(tree, optional)?
                };
            } else if self.take("[") {
                tree = self.element(tree, false)?;
            } else {
                break;
            }
        }
        if is_chain {
            Tree::above(tree.height, Node::Chain(tree.boxed()))
        } else {
            Ok(tree)
        }
    }

    fn member(&mut self, base: Tree, optional: bool) -> Parsed {
        let name = match self.advance() {
            Token::Name(name) => name,
            Token::Sign(word) if word.starts_with(|letter: char| letter.is_ascii_alphabetic()) => {
                word.to_owned()
            }
            other => return Err(unexpected(&other)),
        };
        let key = Box::new(Node::Text(name));
        let tree = Tree::above(
            base.height,
            Node::Member {
                base: base.boxed(),
                key,
                optional,
            },
        )?;
        if !self.is("(") {
            return Ok(tree);
        }
        let (_, height) = nodes(self.arguments(Vec::new())?);
        Tree::above(height.max(tree.height), Node::Uncallable(tree.boxed()))
    }

    fn element(&mut self, base: Tree, optional: bool) -> Parsed {
        let mut height = base.height;
        let mut bound = |parser: &mut Self| -> Result<Option<Box<Node>>, String> {
            if parser.is(":") || parser.is("]") {
                return Ok(None);
            }
            let tree = parser.expression(0)?;
            height = height.max(tree.height);
            Ok(Some(tree.boxed()))
        };
        let from = bound(self)?;
        let node = if self.take(":") {
            let to = bound(self)?;
            Node::Slice {
                base: base.boxed(),
                from,
                to,
            }
        } else {
            let key = from.ok_or_else(|| unexpected(&self.current))?;
            Node::Member {
                base: base.boxed(),
                key,
                optional,
            }
        };
        self.expect("]")?;
        Tree::above(height, node)
    }
}
