//! Every function by name, with the types of its arguments.

/// The type of an argument, as far as a constant shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rego) enum Kind {
    Null,
    Boolean,
    Number,
    Text,
    Array,
    Object,
    Set,
}

impl Kind {
    /// The name in messages.
    pub(in crate::rego) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
            Self::Set => "a set",
        }
    }

    /// Whether a constant of this type may stand where the code asks for something.
    fn fits(self, code: u8) -> bool {
        match code {
            b's' => self == Self::Text,
            b'n' => self == Self::Number,
            b'b' => self == Self::Boolean,
            b'a' => self == Self::Array,
            b'o' => self == Self::Object,
            b'e' => self == Self::Set,
            // An array or a set.
            b'c' => matches!(self, Self::Array | Self::Set),
            // Whatever has a length.
            b'l' => matches!(self, Self::Array | Self::Set | Self::Object | Self::Text),
            // An array, a set or an object.
            b'm' => matches!(self, Self::Array | Self::Set | Self::Object),
            // A string, or several of them.
            b't' => matches!(self, Self::Array | Self::Set | Self::Text),
            // An array or null.
            b'z' => matches!(self, Self::Array | Self::Null),
            // A time: a number, or an array of a number and a zone.
            b'i' => matches!(self, Self::Array | Self::Number),
            _ => true,
        }
    }
}

/// One function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rego) struct Function {
    /// The name.
    pub(in crate::rego) name: &'static str,
    arguments: &'static [u8],
    result: u8,
    /// Whether Rego v1 has it no more.
    pub(in crate::rego) deprecated: bool,
    /// Whether the engine knows it only from us, and so not in the form that binds the result.
    pub(in crate::rego) ours: bool,
}

impl Function {
    /// How many arguments it takes.
    pub(in crate::rego) fn arity(&self) -> usize {
        self.arguments.len()
    }

    /// Whether all that it makes are numbers and booleans.
    pub(in crate::rego) fn makes_scalars(&self) -> bool {
        matches!(self.result, b'n' | b'b')
    }

    /// Whether a constant of this type may be the argument at this place; behind the last one stands the result.
    pub(in crate::rego) fn takes(&self, place: usize, kind: Kind) -> bool {
        kind.fits(self.arguments.get(place).copied().unwrap_or(self.result))
    }
}

/// The function of this name.
pub(in crate::rego) fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS
        .binary_search_by(|function| function.name.cmp(name))
        .ok()
        .and_then(|place| FUNCTIONS.get(place))
}

/// Why a function of OPA is withheld from policies, if it is.
pub(in crate::rego) fn withheld(name: &str) -> Option<&'static str> {
    WITHHELD
        .iter()
        .find(|(prefix, _)| name == *prefix || prefix.ends_with('.') && name.starts_with(prefix))
        .map(|(_, why)| *why)
}

const WITHHELD: &[(&str, &str)] = &[
    ("http.send", "policies may not use the network"),
    ("net.lookup_ip_addr", "policies may not use the network"),
    ("providers.", "policies may not use the network"),
    ("opa.runtime", "policies may not look at the machine"),
    ("rego.", "policies may not read policies"),
    ("graph.reachable_paths", "its time has no bound"),
    ("graphql.", "it is not part of this evaluator"),
    ("io.jwt.", "only io.jwt.decode is part of this evaluator"),
    (
        "crypto.",
        "only hashes and HMACs are part of this evaluator",
    ),
    (
        "json.match_schema",
        "schemas are not part of this evaluator",
    ),
    (
        "json.verify_schema",
        "schemas are not part of this evaluator",
    ),
    ("yaml.", "YAML is not part of this evaluator"),
    ("uuid.", "UUIDs are not part of this evaluator"),
];

const fn of_rego(name: &'static str, arguments: &'static str, result: char) -> Function {
    Function {
        name,
        arguments: arguments.as_bytes(),
        result: result as u8,
        deprecated: false,
        ours: false,
    }
}

const fn ours(name: &'static str, arguments: &'static str, result: char) -> Function {
    Function {
        ours: true,
        ..of_rego(name, arguments, result)
    }
}

const fn deprecated(function: Function) -> Function {
    Function {
        deprecated: true,
        ..function
    }
}

/// In the order of their names.
const FUNCTIONS: &[Function] = &[
    of_rego("abs", "n", 'n'),
    deprecated(ours("all", "c", 'b')),
    deprecated(ours("any", "c", 'b')),
    of_rego("array.concat", "aa", 'a'),
    of_rego("array.reverse", "a", 'a'),
    of_rego("array.slice", "ann", 'a'),
    of_rego("base64.decode", "s", 's'),
    of_rego("base64.encode", "s", 's'),
    of_rego("base64.is_valid", "s", 'b'),
    of_rego("base64url.decode", "s", 's'),
    of_rego("base64url.encode", "s", 's'),
    of_rego("base64url.encode_no_pad", "s", 's'),
    of_rego("bits.and", "nn", 'n'),
    of_rego("bits.lsh", "nn", 'n'),
    of_rego("bits.negate", "n", 'n'),
    of_rego("bits.or", "nn", 'n'),
    of_rego("bits.rsh", "nn", 'n'),
    of_rego("bits.xor", "nn", 'n'),
    of_rego("ceil", "n", 'n'),
    of_rego("concat", "sc", 's'),
    of_rego("contains", "ss", 'b'),
    of_rego("count", "l", 'n'),
    ours("crypto.hmac.equal", "ss", 'b'),
    ours("crypto.hmac.sha1", "ss", 's'),
    ours("crypto.hmac.sha256", "ss", 's'),
    ours("crypto.hmac.sha512", "ss", 's'),
    ours("crypto.md5", "s", 's'),
    ours("crypto.sha1", "s", 's'),
    ours("crypto.sha256", "s", 's'),
    of_rego("endswith", "ss", 'b'),
    of_rego("floor", "n", 'n'),
    of_rego("format_int", "nn", 's'),
    of_rego("glob.match", "szs", 'b'),
    of_rego("glob.quote_meta", "s", 's'),
    of_rego("graph.reachable", "oc", 'e'),
    of_rego("hex.decode", "s", 's'),
    of_rego("hex.encode", "s", 's'),
    of_rego("indexof", "ss", 'n'),
    of_rego("indexof_n", "ss", 'a'),
    of_rego("intersection", "e", 'e'),
    ours("io.jwt.decode", "s", 'a'),
    of_rego("is_array", "_", 'b'),
    of_rego("is_boolean", "_", 'b'),
    of_rego("is_null", "_", 'b'),
    of_rego("is_number", "_", 'b'),
    of_rego("is_object", "_", 'b'),
    of_rego("is_set", "_", 'b'),
    of_rego("is_string", "_", 'b'),
    of_rego("json.filter", "o_", '_'),
    of_rego("json.is_valid", "s", 'b'),
    of_rego("json.marshal", "_", 's'),
    of_rego("json.marshal_with_options", "_o", 's'),
    of_rego("json.patch", "_a", '_'),
    of_rego("json.remove", "o_", '_'),
    of_rego("json.unmarshal", "s", '_'),
    of_rego("lower", "s", 's'),
    of_rego("max", "c", '_'),
    of_rego("min", "c", '_'),
    of_rego("net.cidr_contains", "ss", 'b'),
    of_rego("net.cidr_expand", "s", 'e'),
    of_rego("net.cidr_is_valid", "s", 'b'),
    of_rego("numbers.range", "nn", 'a'),
    of_rego("numbers.range_step", "nnn", 'a'),
    of_rego("object.filter", "om", '_'),
    of_rego("object.get", "o__", '_'),
    of_rego("object.keys", "o", 'e'),
    of_rego("object.remove", "om", '_'),
    of_rego("object.subset", "mm", '_'),
    of_rego("object.union", "oo", '_'),
    of_rego("object.union_n", "a", '_'),
    of_rego("product", "c", 'n'),
    of_rego("rand.intn", "sn", 'n'),
    deprecated(ours("re_match", "ss", 'b')),
    of_rego("regex.find_all_string_submatch_n", "ssn", 'a'),
    of_rego("regex.find_n", "ssn", 'a'),
    of_rego("regex.is_valid", "s", 'b'),
    of_rego("regex.match", "ss", 'b'),
    of_rego("regex.replace", "sss", 's'),
    of_rego("regex.split", "ss", 'a'),
    of_rego("regex.template_match", "ssss", 'b'),
    of_rego("replace", "sss", 's'),
    ours("requires_class_filter", "s", 'b'),
    ours("requires_fact_filter", "s", 'b'),
    ours("requires_filter", "", 'b'),
    ours("requires_identity_filter", "s", 'b'),
    of_rego("round", "n", 'n'),
    of_rego("semver.compare", "ss", 'n'),
    of_rego("semver.is_valid", "_", 'b'),
    of_rego("sort", "c", 'a'),
    of_rego("split", "ss", 'a'),
    of_rego("sprintf", "sa", 's'),
    of_rego("startswith", "ss", 'b'),
    of_rego("strings.any_prefix_match", "tt", 'b'),
    of_rego("strings.any_suffix_match", "tt", 'b'),
    of_rego("strings.count", "ss", 'n'),
    of_rego("strings.replace_n", "os", 's'),
    of_rego("strings.reverse", "s", 's'),
    of_rego("substring", "snn", 's'),
    of_rego("sum", "c", 'n'),
    of_rego("time.add_date", "nnnn", 'n'),
    of_rego("time.clock", "i", 'a'),
    of_rego("time.date", "i", 'a'),
    of_rego("time.diff", "ii", 'a'),
    of_rego("time.format", "i", 's'),
    of_rego("time.now_ns", "", 'n'),
    of_rego("time.parse_duration_ns", "s", 'n'),
    of_rego("time.parse_ns", "ss", 'n'),
    of_rego("time.parse_rfc3339_ns", "s", 'n'),
    of_rego("time.weekday", "i", 's'),
    of_rego("to_number", "_", 'n'),
    of_rego("trace", "s", 'b'),
    of_rego("trim", "ss", 's'),
    of_rego("trim_left", "ss", 's'),
    of_rego("trim_prefix", "ss", 's'),
    of_rego("trim_right", "ss", 's'),
    of_rego("trim_space", "s", 's'),
    of_rego("trim_suffix", "ss", 's'),
    of_rego("type_name", "_", 's'),
    of_rego("union", "e", 'e'),
    of_rego("units.parse", "s", 'n'),
    of_rego("units.parse_bytes", "s", 'n'),
    of_rego("upper", "s", 's'),
    of_rego("urlquery.decode", "s", 's'),
    of_rego("urlquery.decode_object", "s", 'o'),
    of_rego("urlquery.encode", "s", 's'),
    of_rego("urlquery.encode_object", "o", 's'),
    of_rego("walk", "_", 'a'),
];

#[cfg(test)]
mod tests;
