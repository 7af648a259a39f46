//! Does what a template says.

use std::collections::BTreeMap;

use super::functions::Function;
use super::parser::{Base, Command, Operand, Pipeline, Step, Template};
use super::value::Value;
use super::{MAX_OUTPUT, Rendered, TemplateError};

/// How much may be done: so many steps, or bytes of texts that are made. More than any configuration of 16 MiB takes.
const MAX_WORK: usize = 256 * 1024 * 1024;

/// What one step counts.
const STEP: usize = 64;

/// How deeply blocks may be nested, those of templates that call each other included.
const MAX_DEPTH: usize = 150;

/// Renders a template.
pub(super) fn evaluate(
    template: &Template<'_>,
    variables: &BTreeMap<String, String>,
) -> Result<Rendered, TemplateError> {
    let root = Value::Root(variables);
    let mut evaluator = Evaluator {
        template,
        rendered: Rendered::default(),
        variables: vec![(String::new(), root.clone())],
        work: 0,
        depth: 0,
    };
    evaluator.steps(&template.body, &root)?;
    Ok(evaluator.rendered)
}

struct Evaluator<'e, 't> {
    template: &'e Template<'t>,
    rendered: Rendered,
    /// Those that can be seen, the innermost last.
    variables: Vec<(String, Value<'e>)>,
    work: usize,
    depth: usize,
}

/// What comes after a step.
#[derive(PartialEq)]
enum Flow {
    Break,
    Continue,
    Next,
}

impl<'e> Evaluator<'e, '_> {
    fn steps(&mut self, steps: &'e [Step<'_>], dot: &Value<'e>) -> Result<Flow, TemplateError> {
        let outer = self.variables.len();
        let mut flow = Flow::Next;
        self.depth += 1;
        for step in steps {
            flow = self.step(step, dot)?;
            if flow != Flow::Next {
                break;
            }
        }
        self.depth -= 1;
        self.variables.truncate(outer);
        Ok(flow)
    }

    fn step(&mut self, step: &'e Step<'_>, dot: &Value<'e>) -> Result<Flow, TemplateError> {
        match step {
            Step::Break => Ok(Flow::Break),
            Step::Continue => Ok(Flow::Continue),
            Step::Text { at, text } => {
                self.print(*at, text, true)?;
                Ok(Flow::Next)
            }
            Step::Print { at, pipeline } => {
                let value = self.pipeline(pipeline, dot)?;
                if !pipeline.variables.is_empty() {
                    self.set(pipeline, &[value]);
                    return Ok(Flow::Next);
                }
                if let Value::Missing(name) = &value {
                    self.rendered.missing.push((pipeline.at, name.to_string()));
                }
                self.print(*at, &value.to_string(), false)?;
                Ok(Flow::Next)
            }
            Step::If {
                at,
                condition,
                then,
                otherwise,
            } => self.scoped(*at, |this| {
                let value = this.pipeline(condition, dot)?;
                let is_true = value.is_true();
                this.set(condition, &[value]);
                this.steps(if is_true { then } else { otherwise }, dot)
            }),
            Step::With {
                at,
                value,
                then,
                otherwise,
            } => self.scoped(*at, |this| {
                let found = this.pipeline(value, dot)?;
                this.set(value, std::slice::from_ref(&found));
                match found.is_true() {
                    true => this.steps(then, &found),
                    false => this.steps(otherwise, dot),
                }
            }),
            Step::Range {
                at,
                over,
                body,
                otherwise,
            } => self.scoped(*at, |this| this.range(*at, over, body, otherwise, dot)),
            Step::Call { at, name, data } => {
                self.call(*at, name, data.as_ref(), dot)?;
                Ok(Flow::Next)
            }
        }
    }

    /// Does something whose variables are gone afterwards.
    fn scoped(
        &mut self,
        at: usize,
        work: impl FnOnce(&mut Self) -> Result<Flow, TemplateError>,
    ) -> Result<Flow, TemplateError> {
        self.spend(at, 0)?;
        let outer = self.variables.len();
        let flow = work(self);
        self.variables.truncate(outer);
        flow
    }

    fn range(
        &mut self,
        at: usize,
        over: &'e Pipeline,
        body: &'e [Step<'_>],
        otherwise: &'e [Step<'_>],
        dot: &Value<'e>,
    ) -> Result<Flow, TemplateError> {
        let value = self.pipeline(over, dot)?;
        let items = items(value).map_err(|why| TemplateError::new(over.at, why))?;
        let outer = self.variables.len();
        let mut is_empty = true;
        for (key, item) in items {
            is_empty = false;
            self.spend(at, 0)?;
            match over.variables.len() {
                1 => self.set(over, std::slice::from_ref(&item)),
                _ => self.set(over, &[key, item.clone()]),
            }
            let flow = self.steps(body, &item)?;
            self.variables.truncate(outer);
            if flow == Flow::Break {
                break;
            }
        }
        match is_empty {
            true => self.steps(otherwise, dot),
            false => Ok(Flow::Next),
        }
    }

    fn call(
        &mut self,
        at: usize,
        name: &str,
        data: Option<&'e Pipeline>,
        dot: &Value<'e>,
    ) -> Result<(), TemplateError> {
        self.spend(at, 0)?;
        let template = self.template;
        let Some(body) = template.named.get(name) else {
            let why = format!("there is no template {name:?}");
            return Err(TemplateError::new(at, why));
        };
        let data = match data {
            Some(pipeline) => self.pipeline(pipeline, dot)?,
            None => Value::Missing(".".into()),
        };
        if self.depth >= MAX_DEPTH {
            let why = "templates call each other too deeply";
            return Err(TemplateError::new(at, why));
        }
        let outside = std::mem::replace(&mut self.variables, vec![(String::new(), data.clone())]);
        let done = self.steps(body, &data);
        self.variables = outside;
        done.map(|_| ())
    }

    fn pipeline(
        &mut self,
        pipeline: &'e Pipeline,
        dot: &Value<'e>,
    ) -> Result<Value<'e>, TemplateError> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, value, dot)?);
        }
        value.ok_or_else(|| TemplateError::new(pipeline.at, "a value is missing here"))
    }

    /// Does a command, whose last argument the command before it made.
    fn command(
        &mut self,
        command: &'e Command,
        last: Option<Value<'e>>,
        dot: &Value<'e>,
    ) -> Result<Value<'e>, TemplateError> {
        let function = match (command.function, command.operands.as_slice()) {
            (Some(function), _) => function,
            (None, [only]) => return self.operand(only, dot),
            (None, _) => return Err(TemplateError::new(command.at, "a value is missing here")),
        };
        let mut arguments = Vec::new();
        for operand in &command.operands {
            let value = self.operand(operand, dot)?;
            let decides = match function {
                Function::And => !value.is_true(),
                Function::Or => value.is_true(),
                _ => false,
            };
            if decides {
                return Ok(value);
            }
            arguments.push(value);
        }
        arguments.extend(last);
        self.apply(command.at, function, &arguments)
    }

    fn apply(
        &mut self,
        at: usize,
        function: Function,
        arguments: &[Value<'e>],
    ) -> Result<Value<'e>, TemplateError> {
        let value = function
            .apply(arguments)
            .map_err(|why| TemplateError::new(at, format!("{}: {why}", function.name())))?;
        let made = match &value {
            Value::Text(text) => text.len(),
            Value::List(values) => values.len() * STEP,
            Value::Boolean(_)
            | Value::Environment(_)
            | Value::Float(_)
            | Value::Integer(_)
            | Value::Missing(_)
            | Value::Pair(..)
            | Value::Root(_) => 0,
        };
        self.spend(at, made)?;
        Ok(value)
    }

    fn operand(
        &mut self,
        operand: &'e Operand,
        dot: &Value<'e>,
    ) -> Result<Value<'e>, TemplateError> {
        self.spend(operand.at, 0)?;
        let mut value = match &operand.base {
            Base::Call(function) => self.apply(operand.at, *function, &[])?,
            Base::Dot => dot.clone(),
            Base::Literal(value) => value.clone(),
            Base::Nested(pipeline) => self.pipeline(pipeline, dot)?,
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                match found {
                    Some((_, value)) => value.clone(),
                    None => {
                        let why = format!("undefined variable `${name}`");
                        return Err(TemplateError::new(operand.at, why));
                    }
                }
            }
        };
        for field in &operand.fields {
            value = value
                .field(field)
                .map_err(|why| TemplateError::new(operand.at, why))?;
        }
        Ok(value)
    }

    /// Gives the pipeline's variables their values.
    fn set(&mut self, pipeline: &Pipeline, values: &[Value<'e>]) {
        for (name, value) in pipeline.variables.iter().zip(values) {
            let known = self
                .variables
                .iter_mut()
                .rev()
                .find(|(known, _)| known == name);
            match known.filter(|_| pipeline.assigns) {
                Some((_, old)) => *old = value.clone(),
                None => self.variables.push((name.clone(), value.clone())),
            }
        }
    }

    fn print(&mut self, at: usize, text: &str, copied: bool) -> Result<(), TemplateError> {
        self.spend(at, text.len())?;
        let rendered = &mut self.rendered;
        if rendered.text.len() + text.len() > MAX_OUTPUT {
            return Err(TemplateError::new(
                at,
                "the template becomes longer than 16 MiB",
            ));
        }
        rendered.origins.push(rendered.text.len(), at, copied);
        rendered.text += text;
        Ok(())
    }

    fn spend(&mut self, at: usize, made: usize) -> Result<(), TemplateError> {
        self.work += STEP + made;
        if self.work > MAX_WORK {
            return Err(TemplateError::new(at, "the template takes too much work"));
        }
        Ok(())
    }
}

/// What `range` goes through: keys and items.
fn items(value: Value<'_>) -> Result<Vec<(Value<'_>, Value<'_>)>, String> {
    let number = |index: usize| Value::Integer(i64::try_from(index).unwrap_or(i64::MAX));
    match value {
        Value::List(values) => {
            let values = values.iter().cloned().enumerate();
            Ok(values
                .map(|(index, value)| (number(index), value))
                .collect())
        }
        Value::Environment(variables) => Ok(variables
            .iter()
            .map(|(name, value)| (Value::text(name.as_str()), Value::text(value.as_str())))
            .collect()),
        Value::Integer(count @ 0..=100_000) => {
            let numbers = (0..count).map(|number| (Value::Integer(number), Value::Integer(number)));
            Ok(numbers.collect())
        }
        Value::Missing(_) => Ok(Vec::new()),
        other => Err(format!("range can't go through {}", other.kind())),
    }
}
