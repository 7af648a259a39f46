//! From pieces to a tree of what is to be done.

use std::collections::HashMap;
use std::collections::VecDeque;

use super::TemplateError;
use super::functions::Function;
use super::lexer::{Piece, Token, TokenKind, split};
use super::value::Value;

/// How deeply blocks and parentheses may be nested.
const MAX_DEPTH: usize = 100;

/// A template that was read.
#[derive(Debug, Default)]
pub(super) struct Template<'t> {
    pub(super) body: Vec<Step<'t>>,
    /// Those that `define` and `block` name.
    pub(super) named: HashMap<String, Vec<Step<'t>>>,
}

/// Something to do.
#[derive(Debug)]
pub(super) enum Step<'t> {
    Break,
    /// Runs a named template.
    Call {
        at: usize,
        name: String,
        data: Option<Pipeline>,
    },
    Continue,
    If {
        at: usize,
        condition: Pipeline,
        then: Vec<Step<'t>>,
        otherwise: Vec<Step<'t>>,
    },
    Print {
        at: usize,
        pipeline: Pipeline,
    },
    Range {
        at: usize,
        over: Pipeline,
        body: Vec<Step<'t>>,
        otherwise: Vec<Step<'t>>,
    },
    Text {
        at: usize,
        text: &'t str,
    },
    With {
        at: usize,
        value: Pipeline,
        then: Vec<Step<'t>>,
        otherwise: Vec<Step<'t>>,
    },
}

/// Commands, each of which gets what the one before it made, and the variables that get the last.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) at: usize,
    pub(super) variables: Vec<String>,
    /// Whether the variables are there already.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

#[derive(Debug)]
pub(super) struct Command {
    pub(super) at: usize,
    pub(super) function: Option<Function>,
    /// The function's arguments, or what stands alone.
    pub(super) operands: Vec<Operand>,
}

/// A value, and the fields to follow from there.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) base: Base,
    pub(super) fields: Vec<String>,
}

#[derive(Debug)]
pub(super) enum Base {
    /// A function without arguments.
    Call(Function),
    Dot,
    Literal(Value<'static>),
    Nested(Box<Pipeline>),
    Variable(String),
}

/// Reads a template.
pub(super) fn parse(template: &str) -> Result<Template<'_>, TemplateError> {
    let mut parser = Parser {
        pieces: split(template)?.into(),
        template: Template::default(),
        variables: Vec::new(),
        ranges: 0,
        depth: 0,
    };
    let (body, end) = parser.steps(true)?;
    parser.template.body = body;
    match end {
        End::OfText => Ok(parser.template),
        End::Else(at, _) => Err(TemplateError::new(at, "this `else` belongs to nothing")),
        End::OfBlock(at) => Err(TemplateError::new(at, "this `end` belongs to nothing")),
    }
}

struct Parser<'t> {
    pieces: VecDeque<Piece<'t>>,
    template: Template<'t>,
    /// The variables that can be seen.
    variables: Vec<String>,
    /// How many loops are around.
    ranges: usize,
    depth: usize,
}

/// What ended a list of steps.
enum End {
    /// With what follows the word.
    Else(usize, Tokens),
    OfBlock(usize),
    OfText,
}

impl<'t> Parser<'t> {
    /// Reads steps up to the end of the block.
    fn steps(&mut self, is_top: bool) -> Result<(Vec<Step<'t>>, End), TemplateError> {
        self.depth += 1;
        let mut steps = Vec::new();
        while let Some(piece) = self.pieces.pop_front() {
            let (at, tokens) = match piece {
                Piece::Text { at, text } => {
                    steps.push(Step::Text { at, text });
                    continue;
                }
                Piece::Action { at, tokens } => (at, tokens),
            };
            if self.depth > MAX_DEPTH {
                return Err(TemplateError::new(at, "blocks are nested too deeply"));
            }
            let mut tokens = Tokens {
                tokens: tokens.into(),
                at,
                depth: 0,
            };
            let word = tokens.word().unwrap_or_default();
            match word.as_str() {
                "else" => {
                    self.depth -= 1;
                    tokens.tokens.pop_front();
                    return Ok((steps, End::Else(at, tokens)));
                }
                "end" => {
                    self.depth -= 1;
                    tokens.tokens.pop_front();
                    tokens.done()?;
                    return Ok((steps, End::OfBlock(at)));
                }
                "define" if !is_top => {
                    return Err(TemplateError::new(
                        at,
                        "`define` stands outside of all blocks",
                    ));
                }
                "define" => {
                    tokens.tokens.pop_front();
                    let name = tokens.name()?;
                    tokens.done()?;
                    let body = self.outside(|parser| parser.block(at))?;
                    self.template.named.insert(name, body);
                }
                word => {
                    if matches!(
                        word,
                        "block" | "break" | "continue" | "if" | "range" | "template" | "with"
                    ) {
                        tokens.tokens.pop_front();
                    }
                    let step = self.step(at, word, tokens)?;
                    steps.push(step);
                }
            }
        }
        self.depth -= 1;
        Ok((steps, End::OfText))
    }

    fn step(
        &mut self,
        at: usize,
        word: &str,
        mut tokens: Tokens,
    ) -> Result<Step<'t>, TemplateError> {
        let outer = self.variables.len();
        let step = match word {
            "break" | "continue" => {
                tokens.done()?;
                if self.ranges == 0 {
                    let why = format!("`{word}` stands within `range`");
                    return Err(TemplateError::new(at, why));
                }
                match word {
                    "break" => Step::Break,
                    _ => Step::Continue,
                }
            }
            "block" => {
                let name = tokens.name()?;
                let data = Some(self.pipeline(&mut tokens, 0)?);
                tokens.done()?;
                let body = self.outside(|parser| parser.block(at))?;
                self.template.named.entry(name.clone()).or_insert(body);
                Step::Call { at, name, data }
            }
            "template" => {
                let name = tokens.name()?;
                let data = match tokens.tokens.is_empty() {
                    true => None,
                    false => Some(self.pipeline(&mut tokens, 0)?),
                };
                tokens.done()?;
                Step::Call { at, name, data }
            }
            "if" | "with" => self.branch(at, word, tokens)?,
            "range" => {
                let over = self.pipeline(&mut tokens, 2)?;
                tokens.done()?;
                self.ranges += 1;
                let (body, end) = self.steps(false)?;
                self.ranges -= 1;
                let otherwise = match end {
                    End::Else(_, rest) => {
                        rest.done()?;
                        self.block(at)?
                    }
                    End::OfBlock(_) => Vec::new(),
                    End::OfText => return Err(unended(at)),
                };
                Step::Range {
                    at,
                    over,
                    body,
                    otherwise,
                }
            }
            _ => {
                let pipeline = self.pipeline(&mut tokens, 1)?;
                tokens.done()?;
                // Its variable is seen up to the end of the block around it.
                return Ok(Step::Print { at, pipeline });
            }
        };
        self.variables.truncate(outer);
        Ok(step)
    }

    fn branch(
        &mut self,
        at: usize,
        word: &str,
        mut tokens: Tokens,
    ) -> Result<Step<'t>, TemplateError> {
        let value = self.pipeline(&mut tokens, 1)?;
        tokens.done()?;
        let inner = self.variables.len();
        let (then, end) = self.steps(false)?;
        self.variables.truncate(inner);
        let otherwise = match end {
            End::OfText => return Err(unended(at)),
            End::OfBlock(_) => Vec::new(),
            End::Else(_, rest) if rest.tokens.is_empty() => self.block(at)?,
            // `else if` has its `end` in common with what it follows.
            End::Else(else_at, mut rest) => {
                let next = rest.word().unwrap_or_default();
                if next != "if" && next != "with" {
                    return Err(TemplateError::new(
                        else_at,
                        "`else` stands alone, or is followed by `if` or `with`",
                    ));
                }
                rest.tokens.pop_front();
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err(TemplateError::new(else_at, "blocks are nested too deeply"));
                }
                let step = self.branch(else_at, &next, rest)?;
                self.depth -= 1;
                vec![step]
            }
        };
        Ok(match word {
            "if" => Step::If {
                at,
                condition: value,
                then,
                otherwise,
            },
            _ => Step::With {
                at,
                value,
                then,
                otherwise,
            },
        })
    }

    /// Reads a block that `end` must end; `at` is where it began.
    fn block(&mut self, at: usize) -> Result<Vec<Step<'t>>, TemplateError> {
        let outer = self.variables.len();
        let (steps, end) = self.steps(false)?;
        self.variables.truncate(outer);
        match end {
            End::OfBlock(_) => Ok(steps),
            End::Else(at, _) => Err(TemplateError::new(at, "this `else` belongs to nothing")),
            End::OfText => Err(unended(at)),
        }
    }

    /// Reads something that does not see the variables and loops around it.
    fn outside<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, TemplateError>,
    ) -> Result<T, TemplateError> {
        let variables = std::mem::take(&mut self.variables);
        let ranges = std::mem::take(&mut self.ranges);
        let read = read(self);
        self.variables = variables;
        self.ranges = ranges;
        read
    }

    /// Reads a pipeline, that may declare or assign so many variables.
    fn pipeline(
        &mut self,
        tokens: &mut Tokens,
        most_variables: usize,
    ) -> Result<Pipeline, TemplateError> {
        let at = tokens.at();
        let (variables, assigns) = tokens.variables();
        if variables.len() > most_variables {
            let why = "so many variables cannot be set here";
            return Err(TemplateError::new(at, why));
        }
        if assigns && let Some(name) = variables.iter().find(|it| !self.variables.contains(it)) {
            return Err(TemplateError::new(at, undefined(name)));
        }
        let mut commands = Vec::new();
        loop {
            commands.push(self.command(tokens)?);
            if tokens.next_is(&TokenKind::Pipe) {
                tokens.tokens.pop_front();
            } else {
                break;
            }
        }
        for command in commands.iter().skip(1) {
            let stands_alone = command.operands.first().map(|it| &it.base);
            let takes = command.function.is_some() || matches!(stands_alone, Some(Base::Call(_)));
            if !takes {
                let why = "only a function can follow a `|`";
                return Err(TemplateError::new(command.at, why));
            }
        }
        if !assigns {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline {
            at,
            variables,
            assigns,
            commands,
        })
    }

    fn command(&mut self, tokens: &mut Tokens) -> Result<Command, TemplateError> {
        let at = tokens.at();
        let function = match tokens.word() {
            Some(word) if !matches!(word.as_str(), "true" | "false" | "nil") => {
                let function = Function::named(&word, at)?;
                // A field right behind belongs to what the function makes.
                let follows = tokens.tokens.get(1);
                let is_operand =
                    follows.is_some_and(|it| it.joined && matches!(it.kind, TokenKind::Field(_)));
                (!is_operand).then_some(function)
            }
            Some(_) | None => None,
        };
        if function.is_some() {
            tokens.tokens.pop_front();
        }
        let mut operands = Vec::new();
        while let Some(operand) = self.operand(tokens)? {
            operands.push(operand);
        }
        match (function, operands.as_slice()) {
            (None, []) => Err(TemplateError::new(at, "a value is missing here")),
            (None, [_, second, ..]) => Err(TemplateError::new(
                second.at,
                "what stands in front of this is no function, so it takes no argument",
            )),
            (Some(_), _) | (None, [_]) => Ok(Command {
                at,
                function,
                operands,
            }),
        }
    }

    fn operand(&mut self, tokens: &mut Tokens) -> Result<Option<Operand>, TemplateError> {
        let Some(Token { at, kind, .. }) = tokens.tokens.front().cloned() else {
            return Ok(None);
        };
        let mut fields = Vec::new();
        let base = match kind {
            TokenKind::Pipe | TokenKind::Close | TokenKind::Comma => return Ok(None),
            TokenKind::Assign | TokenKind::Declare => {
                return Err(TemplateError::new(
                    at,
                    "only variables can be set, like `$x := 1`",
                ));
            }
            TokenKind::Dot => Base::Dot,
            TokenKind::Field(name) => {
                fields.push(name);
                Base::Dot
            }
            TokenKind::Float(number) => Base::Literal(Value::Float(number)),
            TokenKind::Integer(number) => Base::Literal(Value::Integer(number)),
            TokenKind::Text(text) => Base::Literal(Value::text(text)),
            TokenKind::Variable(name) => {
                if !name.is_empty() && !self.variables.contains(&name) {
                    return Err(TemplateError::new(at, undefined(&name)));
                }
                Base::Variable(name)
            }
            TokenKind::Word(word) => match word.as_str() {
                "true" => Base::Literal(Value::Boolean(true)),
                "false" => Base::Literal(Value::Boolean(false)),
                "nil" => return Err(TemplateError::new(at, "`nil` is not supported")),
                _ => Base::Call(Function::named(&word, at)?),
            },
            TokenKind::Open => {
                tokens.tokens.pop_front();
                tokens.depth += 1;
                if tokens.depth > MAX_DEPTH {
                    return Err(TemplateError::new(at, "parentheses are nested too deeply"));
                }
                let nested = self.pipeline(tokens, 0)?;
                tokens.depth -= 1;
                if !tokens.next_is(&TokenKind::Close) {
                    return Err(TemplateError::new(at, "this `(` has no `)`"));
                }
                Base::Nested(Box::new(nested))
            }
        };
        tokens.tokens.pop_front();
        while let Some(Token {
            kind: TokenKind::Field(name),
            joined: true,
            ..
        }) = tokens.tokens.front()
        {
            fields.push(name.clone());
            tokens.tokens.pop_front();
        }
        Ok(Some(Operand { at, base, fields }))
    }
}

fn unended(at: usize) -> TemplateError {
    TemplateError::new(at, "this has no `{{ end }}`")
}

fn undefined(name: &str) -> String {
    format!("undefined variable `${name}`")
}

/// What is left of an action.
struct Tokens {
    tokens: VecDeque<Token>,
    /// Where the action begins.
    at: usize,
    /// How many parentheses are open.
    depth: usize,
}

impl Tokens {
    fn at(&self) -> usize {
        self.tokens.front().map_or(self.at, |token| token.at)
    }

    fn word(&self) -> Option<String> {
        match self.tokens.front().map(|token| &token.kind) {
            Some(TokenKind::Word(word)) => Some(word.clone()),
            Some(_) | None => None,
        }
    }

    fn next_is(&self, kind: &TokenKind) -> bool {
        self.tokens.front().is_some_and(|token| token.kind == *kind)
    }

    /// The name of a template.
    fn name(&mut self) -> Result<String, TemplateError> {
        let at = self.at();
        match self.tokens.pop_front().map(|token| token.kind) {
            Some(TokenKind::Text(name)) => Ok(name),
            Some(_) | None => Err(TemplateError::new(
                at,
                "the name of a template must follow, in double quotes",
            )),
        }
    }

    /// The variables ahead of a `:=` or `=`, and whether it is the latter.
    fn variables(&mut self) -> (Vec<String>, bool) {
        let mut names = Vec::new();
        let mut index = 0;
        loop {
            let kind = |index: usize| self.tokens.get(index).map(|token| &token.kind);
            let Some(TokenKind::Variable(name)) = kind(index) else {
                return (Vec::new(), false);
            };
            names.push(name.clone());
            match kind(index + 1) {
                Some(TokenKind::Comma) => index += 2,
                Some(sign @ (TokenKind::Declare | TokenKind::Assign)) => {
                    let assigns = *sign == TokenKind::Assign;
                    self.tokens.drain(..index + 2);
                    return (names, assigns);
                }
                Some(_) | None => return (Vec::new(), false),
            }
        }
    }

    fn done(&self) -> Result<(), TemplateError> {
        match self.tokens.front() {
            None => Ok(()),
            Some(token) => Err(TemplateError::new(token.at, "unexpected in this action")),
        }
    }
}
