use super::*;

fn variables() -> BTreeMap<String, String> {
    let all = [("A", "one"), ("EMPTY", ""), ("N", "3"), ("Q", "a\"b\\")];
    all.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

#[track_caller]
fn check(template: &str, expect: &str) {
    match render(template, &variables()) {
        Ok(rendered) => assert_eq!(rendered.text, expect, "{template}"),
        Err(error) => panic!("{template}: {error:?}"),
    }
}

#[track_caller]
fn fails(template: &str, at: usize, expect: &str) {
    let error = render(template, &variables()).unwrap_err();
    assert_eq!((error.at, error.why.as_str()), (at, expect), "{template}");
}

#[test]
fn actions() {
    for (template, expect) in [
        ("a = \"{{ .Envs.A }}\"", "a = \"one\""),
        (
            "{{.Envs.A}}{{ .Envs.A | printf \"%s-%s\" \"x\" }}",
            "onex-one",
        ),
        ("a {{- \"b\" -}} c", "abc"),
        ("a\n{{- /* comment }} */ -}}\n b", "ab"),
        ("{{/* a */}}b", "b"),
        ("{{ \"{{\" }}{{ `}}` }}", "{{}}"),
        ("{{ if .Envs.A }}y{{ else }}n{{ end }}", "y"),
        ("{{ if .Envs.EMPTY }}y{{ else if .Envs.A }}e{{ end }}", "e"),
        ("{{ if .Envs.NONE }}y{{ end }}.", "."),
        ("{{ with .Envs.A }}{{ . }}{{ $.Envs.N }}{{ end }}", "one3"),
        (
            "{{ with $x := .Envs.NONE }}{{ $x }}{{ else with .Envs.N }}{{ . }}{{ end }}",
            "3",
        ),
        ("{{ with .Envs.EMPTY }}a{{ else }}b{{ end }}", "b"),
        ("{{ if eq .Envs.A \"two\" \"one\" }}y{{ end }}", "y"),
        ("{{ if eq .Envs.NONE \"x\" }}y{{ else }}n{{ end }}", "n"),
        (
            "{{ if and (eq 1 1) (lt 1 2) (le 2 2) (gt 3 2) (ge 2 2) (ne 1 2) }}y{{ end }}",
            "y",
        ),
        (
            "{{ or .Envs.NONE .Envs.EMPTY \"z\" }}{{ and .Envs.A \"z\" }}",
            "zz",
        ),
        (
            "{{ not .Envs.NONE }} {{ len .Envs.A }} {{ index .Envs \"A\" }}{{ index .Envs \"NONE\" }}",
            "true 3 one",
        ),
        ("{{ slice .Envs.A 1 }}{{ slice .Envs.A 0 1 }}", "neo"),
        (
            "{{ print 1 2 \"a\" 3 }}|{{ println 1 \"a\" }}",
            "1 2a3|1 a\n",
        ),
        (
            "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $y := 3 }}{{ $y }}{{ end }}{{ $x }}",
            "32",
        ),
        (
            "{{ range parseNumberRange \"1-3,7\" }}{{ . }},{{ end }}",
            "1,2,3,7,",
        ),
        (
            "{{ range $i, $v := parseNumberRange \"5,6\" }}{{ $i }}={{ $v }};{{ end }}",
            "0=5;1=6;",
        ),
        (
            "{{ range $v := parseNumberRangePair \"1-2\" \"8-9\" }}{{ $v.First }}:{{ .Second }} {{ end }}",
            "1:8 2:9 ",
        ),
        (
            "{{ range parseNumberRange \"1-9\" }}{{ if eq . 2 }}{{ continue }}{{ end }}{{ if gt . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "13",
        ),
        ("{{ range .Envs.NONE }}a{{ else }}b{{ end }}", "b"),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        (
            "{{ define \"t\" }}<{{ . }}>{{ end }}{{ template \"t\" .Envs.A }}{{ template \"t\" 1 }}",
            "<one><1>",
        ),
        ("{{ block \"b\" 5 }}{{ . }}{{ end }}", "5"),
        ("{{ .Envs.Q | printf \"%q\" }}", "\"a\\\"b\\\\\""),
        (
            "{{ printf \"%05d|%-4s|%4s|%x|%X|%t|%v|%%|%c|%.2f|%08.3f|%+d\" 42 \"a\" \"b\" 255 255 true 1 65 1.5 -3.14159 3 }}",
            "00042|a   |   b|ff|FF|true|1|%|A|1.50|-003.142|+3",
        ),
        (
            "{{ (index (parseNumberRangePair \"1\" \"2\") 0).Second }}",
            "2",
        ),
        (
            "{{ 'a' }} {{ 0x10 }} {{ 1_000 }} {{ 1.50 }} {{ -3 }}",
            "97 16 1000 1.5 -3",
        ),
        ("{{\n  .Envs.A\n}}", "one"),
        ("{{ parseNumberRange \"1-2\" }}", "[1 2]"),
        ("}} no action", "}} no action"),
    ] {
        check(template, expect);
    }
}

#[test]
fn a_variable_that_is_not_set() {
    let rendered = render("ab {{ .Envs.NONE }}", &variables()).unwrap();
    assert_eq!(rendered.text, "ab <no value>");
    assert_eq!(rendered.missing, [(6, "NONE".to_owned())]);
    check("{{ print .Envs.NONE }}", "<nil>");
}

#[test]
fn mistakes_have_a_place() {
    for (template, at, expect) in [
        (
            "a {{ .Envs.A",
            2,
            "this `{{` has no `}}`; for the two characters alone write `{{ \"{{\" }}`",
        ),
        (
            "a {{ .Env.A }}",
            5,
            "a file's template has `.Envs` alone, no `.Env`; an environment variable is `.Envs.Env`",
        ),
        (
            "{{ foo }}",
            3,
            "function \"foo\" not defined; an environment variable is `.Envs.NAME`, a text stands in double quotes",
        ),
        (
            "{{ parseNumberRnge \"1\" }}",
            3,
            "function \"parseNumberRnge\" not defined, did you mean \"parseNumberRange\"?",
        ),
        (
            "{{ html .Envs.A }}",
            3,
            "the function `html` is not supported by this version of mgrok",
        ),
        ("{{ if true }}", 0, "this has no `{{ end }}`"),
        ("{{ end }}", 0, "this `end` belongs to nothing"),
        ("{{ else }}", 0, "this `else` belongs to nothing"),
        ("{{ break }}", 0, "`break` stands within `range`"),
        ("{{ $x }}", 3, "undefined variable `$x`"),
        ("{{ $x = 1 }}", 3, "undefined variable `$x`"),
        (
            "{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}",
            38,
            "undefined variable `$x`",
        ),
        (
            "{{ .Envs.A \"b\" }}",
            11,
            "what stands in front of this is no function, so it takes no argument",
        ),
        ("{{ 1 | 2 }}", 7, "only a function can follow a `|`"),
        ("{{ (1 }}", 3, "this `(` has no `)`"),
        (
            "{{ eq 1 \"1\" }}",
            3,
            "eq: an integer and a text cannot be compared; environment variables are texts, so write a number in quotes",
        ),
        (
            "{{ parseNumberRange \"3-1\" }}",
            3,
            "parseNumberRange: range number is invalid: a range must not end before it begins, not \"3-1\"",
        ),
        (
            "{{ parseNumberRangePair \"1-2\" \"1\" }}",
            3,
            "parseNumberRangePair: the ranges must have as many numbers as each other: 2 are not 1",
        ),
        ("{{ template \"x\" }}", 0, "there is no template \"x\""),
        ("{{ .Envs.A.B }}", 3, "a text has no `.B`"),
        (
            "{{ printf \"%d\" .Envs.A }}",
            3,
            "printf: `%d` does not take a text",
        ),
        ("{{ \"a }}", 3, "this text has no closing `\"`"),
        ("{{ }}", 0, "a value is missing here"),
        ("{{ # }}", 3, "unexpected '#' in an action"),
        (
            "{{ range 5 }}{{ define \"a\" }}{{ end }}{{ end }}",
            13,
            "`define` stands outside of all blocks",
        ),
        ("{{ len 1 }}", 3, "len: an integer has no length"),
        (
            "{{ not 1 2 }}",
            3,
            "not: wrong number of args for not: 2 are not what it takes",
        ),
    ] {
        fails(template, at, expect);
    }
}

#[test]
fn offsets_lead_to_the_template() {
    let template = "a = 1\n{{- range parseNumberRange \"1-2\" }}\nb{{ . }} = x\n{{- end }}\nc = 2";
    let rendered = render(template, &variables()).unwrap();
    assert_eq!(rendered.text, "a = 1\nb1 = x\nb2 = x\nc = 2");
    for (found, expect) in [
        ("a = ", "a = "),
        ("b1", "b{{"),
        ("1 = x", "{{ . }}"),
        ("= x\nb2", "= x"),
        ("b2", "b{{"),
        ("c = 2", "c = 2"),
    ] {
        let at = rendered.text.find(found).unwrap();
        let expect = template.find(expect).unwrap();
        assert_eq!(rendered.origins.find(at), expect, "{found:?}");
    }
    assert_eq!(rendered.origins.find(rendered.text.len()), template.len());
}

#[test]
fn nothing_blows_up() {
    let loops = "{{ range parseNumberRange \"1-1000\" }}".repeat(3) + "x" + &"{{ end }}".repeat(3);
    let doubled =
        "{{ $x := \"aaaaaaaa\" }}".to_owned() + &"{{ $x = printf \"%s%s\" $x $x }}".repeat(60);
    let deep_blocks = "{{ if true }}".repeat(5000) + &"{{ end }}".repeat(5000);
    let deep_else = "{{ if false }}".to_owned() + &"{{ else if false }}".repeat(5000) + "{{ end }}";
    let nested = format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000));
    let endless = "{{ define \"t\" }}{{ if true }}{{ template \"t\" . }}{{ end }}{{ end }}{{ template \"t\" . }}".to_owned();
    let fan = "{{ define \"t\" }}{{ template \"u\" . }}{{ template \"u\" . }}{{ end }}{{ define \"u\" }}{{ template \"t\" . }}{{ template \"t\" . }}{{ end }}{{ template \"t\" . }}".to_owned();
    for template in [loops, doubled, deep_blocks, deep_else, nested, endless, fan] {
        let error = render(&template, &variables()).unwrap_err();
        let known = ["too much work", "too deeply", "longer than 16 MiB"];
        assert!(known.iter().any(|it| error.why.contains(it)), "{error:?}");
    }
}
