//! Reads the text form of a program back.

use std::collections::BTreeMap;

use bb_ir::program::{
    Attribute, Capture, Graph, Module, NamedValue, Node, NodeId, OpId, Program, Region, RegionKind, Span,
    Target, ValueId, domains,
};
use bb_ir::{DataType, Dim, Tensor, Value, ValueType};

/// The program that `text` shows; panics with the place of what it cannot read.
pub fn program(text: &str) -> Program {
    let mut parser = Parser { tokens: tokens(text), at: 0 };
    let mut program = Program::default();
    parser.word("program");
    program.name = parser.name();
    parser.word("opset");
    program.opset = parser.int();
    while parser.at < parser.tokens.len() {
        match parser.name().as_str() {
            "module" => {
                let name = parser.name();
                let body = parser.braced_graph(&BTreeMap::new());
                program.modules.push(Module { name, body, bootstrap: None });
            }
            "bootstrap" => {
                let name = parser.name();
                let graph = parser.braced_graph(&BTreeMap::new());
                let module = program.modules.iter_mut().find(|module| module.name == name);
                module.expect("a module before its bootstrap").bootstrap = Some(graph);
            }
            "target" => program.targets.push(parser.target()),
            other => panic!("`{other}` at token {}", parser.at),
        }
    }
    program
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&next) = chars.peek() {
        if next.is_whitespace() {
            chars.next();
        } else if next == '"' {
            chars.next();
            let mut held = String::new();
            while let Some(c) = chars.next().filter(|c| *c != '"') {
                held.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
            }
            tokens.push(Token::Text(held));
            if chars.peek() == Some(&':') {
                chars.next();
                tokens.push(Token::Sign(':'));
            }
        } else if is_name(next) {
            let mut held = String::new();
            while let Some(c) = chars.next_if(|c| is_name(*c)) {
                held.push(c);
            }
            match held.strip_suffix(':') {
                Some(held) => tokens.extend([Token::Word(held.to_owned()), Token::Sign(':')]),
                None => tokens.push(Token::Word(held)),
            }
        } else {
            chars.next();
            tokens.push(Token::Sign(next));
        }
    }
    tokens
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || "_.:/#@".contains(c)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

type Names = BTreeMap<String, ValueId>;

impl Parser {
    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead)
    }

    fn next(&mut self) -> Token {
        let token = self.tokens.get(self.at).cloned().unwrap_or_else(|| panic!("the text ends too early"));
        self.at += 1;
        token
    }

    fn takes(&mut self, sign: char) -> bool {
        let found = self.peek(0) == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn sign(&mut self, sign: char) {
        assert!(
            self.takes(sign),
            "`{sign}` expected before {:?}",
            &self.tokens[self.at..][..4.min(self.tokens.len() - self.at)]
        );
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(0), Some(Token::Word(held)) if held == word);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str) {
        assert!(self.takes_word(word), "`{word}` expected, found {:?}", self.peek(0));
    }

    fn name(&mut self) -> String {
        match self.next() {
            Token::Word(name) | Token::Text(name) => name,
            Token::Sign(sign) => panic!("a name expected, found `{sign}` at token {}", self.at),
        }
    }

    fn int(&mut self) -> i64 {
        let negative = self.takes('-');
        let number: i64 = self.name().parse().expect("a whole number");
        if negative { -number } else { number }
    }

    fn target(&mut self) -> Target {
        let name = self.name();
        self.word("class");
        let class = self.name();
        self.sign('{');
        let mut regions = Vec::new();
        while !self.takes('}') {
            self.word("region");
            self.int();
            let name = self.name();
            let kind = RegionKind::ALL.into_iter().find(|kind| kind.name() == name);
            let kind = kind.unwrap_or_else(|| panic!("a region of kind {name}"));
            regions.push(Region { kind, graph: self.braced_graph(&BTreeMap::new()) });
        }
        Target { name, class, regions }
    }

    fn braced_graph(&mut self, outer: &Names) -> Graph {
        self.sign('{');
        let mut graph = Graph::default();
        let mut names = Names::new();
        while !self.takes('}') {
            let is_word =
                |token: Option<&Token>, word: &str| matches!(token, Some(Token::Word(held)) if held == word);
            if is_word(self.peek(0), "in") {
                self.at += 1;
                let id = self.definition(&mut graph, &mut names);
                graph.inputs.push(id);
            } else if is_word(self.peek(0), "capture") {
                self.at += 1;
                let inner = self.definition(&mut graph, &mut names);
                self.sign('=');
                self.sign('%');
                let name = self.name();
                let outer = *outer.get(&name).unwrap_or_else(|| panic!("no `{name}` around"));
                graph.captures.push(Capture { outer, inner });
            } else if is_word(self.peek(0), "out") {
                self.at += 1;
                let name = self.name();
                self.sign('=');
                let value = self.reference(&mut graph, &mut names).expect("a value");
                graph.outputs.push(NamedValue { name, value });
            } else {
                let node = self.node(&mut graph, &mut names);
                graph.add_node(node);
            }
        }
        graph
    }

    fn definition(&mut self, graph: &mut Graph, names: &mut Names) -> ValueId {
        let id = self.reference(graph, names).expect("a value");
        if self.takes(':') {
            graph.values[id.0 as usize].ty = self.value_type();
        }
        id
    }

    /// A value by name; one that is not known yet is added.
    fn reference(&mut self, graph: &mut Graph, names: &mut Names) -> Option<ValueId> {
        if self.takes_word("_") {
            return None;
        }
        self.sign('%');
        let name = self.name();
        Some(*names.entry(name.clone()).or_insert_with(|| graph.add_value(name, ValueType::Any)))
    }

    fn node(&mut self, graph: &mut Graph, names: &mut Names) -> Node {
        let mut node = Node::default();
        self.int();
        self.sign(':');
        if self.peek(0) == Some(&Token::Sign('%'))
            || matches!(self.peek(0), Some(Token::Word(word)) if word == "_")
        {
            loop {
                let left_out = matches!(self.peek(0), Some(Token::Word(word)) if word == "_");
                node.outputs.push(if left_out {
                    self.at += 1;
                    None
                } else {
                    Some(self.definition(graph, names))
                });
                if !self.takes(',') {
                    break;
                }
            }
            self.sign('=');
        }
        let op = self.name();
        node.op = match op.rsplit_once("::") {
            None => OpId::new(domains::ONNX, op),
            Some((domain, name)) if domain.starts_with("ai.") => {
                OpId::new(domain.to_owned(), name.to_owned())
            }
            Some((domain, name)) => OpId::new(format!("ai.bytesandbrains.{domain}"), name.to_owned()),
        };
        self.sign('(');
        while !self.takes(')') {
            let input = self.reference(graph, names);
            node.inputs.push(input);
            self.takes(',');
        }
        if self.takes_word("on") {
            node.place = Some(self.name());
        }
        if self.takes_word("slot") {
            node.slot = Some(self.name());
        }
        if self.takes_word("uses") {
            node.uses.push(self.name());
            while self.takes(',') {
                node.uses.push(self.name());
            }
        }
        if self.takes_word("after") {
            node.after.push(NodeId(self.int() as u32));
            while self.takes(',') {
                node.after.push(NodeId(self.int() as u32));
            }
        }
        if self.takes_word("at") {
            let place = self.name();
            let mut parts = place.rsplitn(3, ':');
            let mut number = || parts.next().expect("a number").parse().expect("a number");
            let (column, line) = (number(), number());
            node.span = Span { file: parts.next().expect("a file").into(), line, column };
        }
        if self.takes('{') {
            while !self.takes('}') {
                let name = self.name();
                self.sign('=');
                let value = self.attribute();
                node.attributes.insert(name, value);
                self.takes(',');
            }
        }
        while matches!(self.peek(1), Some(Token::Sign('='))) {
            let name = self.name();
            self.sign('=');
            self.word("graph");
            let graph_name = self.name();
            let mut nested = self.braced_graph(names);
            nested.name = graph_name;
            node.attributes.insert(name, Attribute::Graph(nested));
        }
        node
    }

    fn attribute(&mut self) -> Attribute {
        if self.takes('[') {
            let mut items = Vec::new();
            while !self.takes(']') {
                items.push(self.attribute());
                self.takes(',');
            }
            return match items.first() {
                Some(Attribute::Str(_)) => Attribute::Strs(
                    items
                        .into_iter()
                        .map(|item| match item {
                            Attribute::Str(item) => item,
                            other => panic!("{other:?} among texts"),
                        })
                        .collect(),
                ),
                Some(Attribute::Float(_)) => Attribute::Floats(
                    items
                        .into_iter()
                        .map(|item| match item {
                            Attribute::Float(item) => item,
                            other => panic!("{other:?} among numbers"),
                        })
                        .collect(),
                ),
                _ => {
                    Attribute::Ints(items.iter().map(|item| item.as_int().expect("a whole number")).collect())
                }
            };
        }
        if self.takes_word("value") {
            if self.takes_word("trigger") {
                return Attribute::Value(Value::Trigger);
            }
            let number = self.number();
            return Attribute::Value(if number.contains('.') {
                Value::F64(number.parse().unwrap())
            } else {
                Value::I64(number.parse().unwrap())
            });
        }
        if let Some(Token::Text(text)) = self.peek(0).cloned() {
            self.at += 1;
            return Attribute::Str(text);
        }
        if self.peek(1) == Some(&Token::Sign('[')) {
            return Attribute::Tensor(self.tensor());
        }
        let number = self.number();
        match number.strip_suffix('f') {
            Some(number) => Attribute::Float(number.parse().unwrap()),
            None => Attribute::Int(number.parse().unwrap_or_else(|_| panic!("`{number}` is no attribute"))),
        }
    }

    fn number(&mut self) -> String {
        let sign = if self.takes('-') { "-" } else { "" };
        format!("{sign}{}", self.name())
    }

    fn tensor(&mut self) -> Tensor {
        let dtype = self.name();
        let mut extents = Vec::new();
        self.sign('[');
        while !self.takes(']') {
            extents.push(self.int() as usize);
            self.takes(',');
        }
        let count: usize = extents.iter().product();
        let mut numbers = Vec::new();
        while numbers.len() < count {
            while self.takes('[') || self.takes(',') || self.takes(']') {}
            numbers.push(self.number());
        }
        while self.takes(']') {}
        fn all<T: std::str::FromStr>(numbers: &[String]) -> Vec<T>
        where
            T::Err: std::fmt::Debug,
        {
            numbers.iter().map(|number| number.parse().unwrap()).collect()
        }
        match dtype.as_str() {
            "f32" => Tensor::from_slice(extents, &all::<f32>(&numbers)),
            "i64" => Tensor::from_slice(extents, &all::<i64>(&numbers)),
            other => panic!("tensors of {other} are not read"),
        }
        .unwrap()
    }

    fn value_type(&mut self) -> ValueType {
        if self.takes('(') {
            let mut items = Vec::new();
            while !self.takes(')') {
                items.push(self.value_type());
                self.takes(',');
            }
            return ValueType::Tuple(items);
        }
        let name = self.name();
        let dtype = DataType::ALL.into_iter().find(|dtype| dtype.to_string() == name);
        let has_shape = self.peek(0) == Some(&Token::Sign('['));
        match (name.as_str(), dtype) {
            ("i64", _) if !has_shape => ValueType::I64,
            ("f64", _) if !has_shape => ValueType::F64,
            ("bool", _) if !has_shape => ValueType::Bool,
            ("u64", _) if !has_shape => ValueType::U64,
            ("tensor", _) | (_, Some(_)) => {
                let shape = has_shape.then(|| self.dims());
                ValueType::Tensor { dtype, shape }
            }
            ("any", _) => ValueType::Any,
            ("trigger", _) => ValueType::Trigger,
            ("str", _) => ValueType::Str,
            ("tensors", _) => ValueType::Tensors,
            ("peer", _) => ValueType::Peer,
            ("peers", _) => ValueType::Peers,
            (other, _) => panic!("no type `{other}`"),
        }
    }

    fn dims(&mut self) -> Vec<Dim> {
        let mut dims = Vec::new();
        self.sign('[');
        while !self.takes(']') {
            if self.takes('?') {
                dims.push(Dim::Any);
            } else {
                let name = self.name();
                dims.push(name.parse().map_or(Dim::Named(name), Dim::Known));
            }
            self.takes(',');
        }
        dims
    }
}
