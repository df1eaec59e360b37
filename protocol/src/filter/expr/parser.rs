//! From words to a tree.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a rule of the grammar names the words that it takes, every other one is a fault"
)]

mod operand;

use super::ast::{Binary, Language, Node};
use super::lexer::{self, Token};
use crate::filter::pattern::{Case, Pattern};

/// Deepest nesting of brackets, prefixes and the like.
const MAX_DEPTH: usize = 50;

/// Tallest tree.
const MAX_HEIGHT: usize = 100;

/// Most regular expressions in one expression.
const MAX_PATTERNS: usize = 50;

/// A node and the height of the tree below it.
struct Tree {
    node: Node,
    height: usize,
}

struct Parser {
    tokens: std::vec::IntoIter<Token>,
    current: Token,
    depth: usize,
    predicates: usize,
    patterns: usize,
    most_patterns: usize,
    language: Language,
}

type Parsed = Result<Tree, String>;

/// Reads an expression; the regular expressions in it are taken out of `patterns`, those of a faulty one too.
pub(super) fn parse(text: &str, language: Language, patterns: &mut usize) -> Result<Node, String> {
    let tokens = lexer::tokens(text)?.into_iter();
    let mut parser = Parser {
        tokens,
        current: Token::End,
        depth: 0,
        predicates: 0,
        patterns: 0,
        most_patterns: MAX_PATTERNS.min(*patterns),
        language,
    };
    parser.advance();
    let tree = parser.sequence();
    *patterns = patterns.saturating_sub(parser.patterns);
    let tree = tree?;
    match parser.current {
        Token::End => Ok(tree.node),
        token => Err(unexpected(&token)),
    }
}

fn unexpected(token: &Token) -> String {
    match token {
        Token::Name(name) => format!("unexpected {name:?}"),
        Token::Text(text) => format!("unexpected text {text:?}"),
        Token::Int(number) => format!("unexpected {number}"),
        Token::Float(number) => format!("unexpected {number}"),
        Token::Sign(sign) => format!("unexpected {sign:?}"),
        Token::End => "unexpected end".to_owned(),
    }
}

impl Tree {
    fn leaf(node: Node) -> Self {
        Self { node, height: 1 }
    }

    /// A node above others, the tallest of which is `below` high.
    fn above(below: usize, node: Node) -> Parsed {
        let height = below + 1;
        if height > MAX_HEIGHT {
            Err("nested too deeply".to_owned())
        } else {
            Ok(Self { node, height })
        }
    }

    fn boxed(self) -> Box<Node> {
        Box::new(self.node)
    }
}

/// Splits trees into their nodes and the height of the tallest.
fn nodes(trees: Vec<Tree>) -> (Vec<Node>, usize) {
    let height = trees
        .iter()
        .map(|tree| tree.height)
        .max()
        .unwrap_or_default();
    (trees.into_iter().map(|tree| tree.node).collect(), height)
}

impl Parser {
    fn advance(&mut self) -> Token {
        let next = self.tokens.next().unwrap_or(Token::End);
        std::mem::replace(&mut self.current, next)
    }

    fn is(&self, sign: &str) -> bool {
        matches!(&self.current, Token::Sign(current) if *current == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) {
            Ok(())
        } else {
            Err(unexpected(&self.current))
        }
    }

    fn expect_name(&mut self) -> Result<String, String> {
        match self.advance() {
            Token::Name(name) => Ok(name),
            other => Err(unexpected(&other)),
        }
    }

    fn nested(&mut self, step: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        if self.depth == MAX_DEPTH {
            return Err("nested too deeply".to_owned());
        }
        self.depth += 1;
        let tree = step(self);
        self.depth -= 1;
        tree
    }

    fn sequence(&mut self) -> Parsed {
        let first = self.expression(0)?;
        if !self.is(";") {
            return Ok(first);
        }
        let mut steps = vec![first];
        while self.take(";") && self.current != Token::End {
            steps.push(self.expression(0)?);
        }
        let (steps, height) = nodes(steps);
        Tree::above(height, Node::Sequence(steps))
    }

    /// Reads an expression of operators that bind at least as strongly as `strength`.
    fn expression(&mut self, strength: u16) -> Parsed {
        self.nested(|parser| match &parser.current {
            Token::Sign("let") if strength == 0 => parser.declaration(),
            Token::Sign("if") if strength == 0 => parser.if_else(),
            _ => {
                let first = parser.primary()?;
                let tree = parser.operators(first, strength)?;
                if strength == 0 {
                    parser.conditional(tree)
                } else {
                    Ok(tree)
                }
            }
        })
    }

    fn operators(&mut self, mut left: Tree, strength: u16) -> Parsed {
        let mut after_coalesce = false;
        loop {
            let Token::Sign(sign) = self.current else {
                return Ok(left);
            };
            if after_coalesce
                && sign != "??"
                && (Binary::by_sign(sign).is_some() || is_logical(sign) || sign == "|")
            {
                return Err("?? and other operators need parentheses between them".to_owned());
            }
            after_coalesce = sign == "??";
            left = match sign {
                "|" if strength == 0 => {
                    self.advance();
                    let name = self.expect_name()?;
                    let call = self.call(name, vec![left])?;
                    self.postfix(call)?
                }
                "or" | "||" if strength <= 10 => {
                    self.logical(left, 10, &["or", "||"], Node::Any)?
                }
                "and" | "&&" if strength <= 15 => {
                    self.logical(left, 15, &["and", "&&"], Node::All)?
                }
                "not" if strength <= 20 => {
                    self.advance();
                    let negated = match self.current {
                        Token::Sign(sign) => {
                            Binary::by_sign(sign).filter(|(operator, _)| operator.takes_not())
                        }
                        Token::Name(_)
                        | Token::Text(_)
                        | Token::Int(_)
                        | Token::Float(_)
                        | Token::End => None,
                    };
                    let Some((operator, binds)) = negated else {
                        return Err(unexpected(&self.current));
                    };
                    self.advance();
                    let tree = self.binary(left, operator, binds)?;
                    Tree::above(tree.height, Node::Not(tree.boxed()))?
                }
                other => match Binary::by_sign(other) {
                    Some((operator, binds)) if binds >= strength => {
                        self.advance();
                        if operator.is_ordering() {
                            self.ordering(left, operator, binds)?
                        } else {
                            self.binary(left, operator, binds)?
                        }
                    }
                    Some(_) | None => return Ok(left),
                },
            };
        }
    }

    /// Reads the rest of a chain of `and` or `or`.
    fn logical(
        &mut self,
        left: Tree,
        binds: u16,
        signs: &[&str],
        make: fn(Vec<Node>) -> Node,
    ) -> Parsed {
        let mut chain = vec![left];
        while signs.iter().any(|sign| self.take(sign)) {
            chain.push(self.expression(binds + 1)?);
        }
        let (chain, height) = nodes(chain);
        Tree::above(height, make(chain))
    }

    fn ordering(&mut self, left: Tree, first: Binary, binds: u16) -> Parsed {
        let mut height = left.height;
        let mut steps = Vec::new();
        let mut operator = first;
        loop {
            let right = self.expression(binds + 1)?;
            height = height.max(right.height);
            steps.push((operator, right.node));
            let Token::Sign(sign) = self.current else {
                break;
            };
            match Binary::by_sign(sign) {
                Some((next, _)) if next.is_ordering() => operator = next,
                Some(_) | None => break,
            }
            self.advance();
        }
        Tree::above(height, Node::Ordering(left.boxed(), steps))
    }

    fn binary(&mut self, left: Tree, operator: Binary, binds: u16) -> Parsed {
        let right = self.expression(if operator == Binary::Power {
            binds
        } else {
            binds + 1
        })?;
        let height = left.height.max(right.height);
        let node = match (operator, right.node) {
            (Binary::Matches, Node::Text(pattern)) => {
                Node::Search(left.boxed(), Box::new(self.pattern(&pattern)?))
            }
            (operator, right) => Node::Binary(operator, left.boxed(), Box::new(right)),
        };
        Tree::above(height, node)
    }

    fn pattern(&mut self, text: &str) -> Result<Pattern, String> {
        self.count_pattern()?;
        Pattern::new(text, Case::Sensitive).map_err(|error| error.to_string())
    }

    fn count_pattern(&mut self) -> Result<(), String> {
        self.patterns += 1;
        if self.patterns > self.most_patterns {
            Err("too many regular expressions".to_owned())
        } else {
            Ok(())
        }
    }

    fn declaration(&mut self) -> Parsed {
        self.expect("let")?;
        let name = self.expect_name()?;
        self.expect("=")?;
        let value = self.expression(0)?;
        self.expect(";")?;
        let body = self.nested(Self::sequence)?;
        Tree::above(
            value.height.max(body.height),
            Node::Let(name, value.boxed(), body.boxed()),
        )
    }

    fn if_else(&mut self) -> Parsed {
        self.expect("if")?;
        let condition = self.expression(0)?;
        let then = self.block()?;
        self.expect("else")?;
        let otherwise = if self.is("if") {
            self.nested(Self::if_else)?
        } else {
            self.block()?
        };
        choice(condition, then, otherwise)
    }

    fn block(&mut self) -> Parsed {
        self.expect("{")?;
        let tree = self.nested(Self::sequence)?;
        self.expect("}")?;
        Ok(tree)
    }

    fn conditional(&mut self, mut tree: Tree) -> Parsed {
        while self.take("?") {
            if self.is(":") {
                return Err("?: without a value between is not supported".to_owned());
            }
            let then = self.expression(0)?;
            self.expect(":")?;
            let otherwise = self.expression(0)?;
            tree = choice(tree, then, otherwise)?;
        }
        Ok(tree)
    }
}

fn is_logical(sign: &str) -> bool {
    matches!(sign, "or" | "||" | "and" | "&&")
}

fn choice(condition: Tree, then: Tree, otherwise: Tree) -> Parsed {
    let height = condition.height.max(then.height).max(otherwise.height);
    Tree::above(
        height,
        Node::Conditional(condition.boxed(), then.boxed(), otherwise.boxed()),
    )
}
