//! The plan in words and tables.

use vecferry_core::plan::{ClusterSummary, Method, MethodPlan, Plan, Step};

use crate::ui::{Colour, Ui, table};
use crate::units::{count, duration, size};

/// The whole plan.
pub(super) fn all(plan: &Plan, ui: &Ui) -> String {
    let mut blocks = vec![inventory(plan)];
    blocks.extend(plan.source.as_ref().and_then(vectors));
    blocks.push(methods(plan, ui));
    blocks.push(explanations(plan));
    blocks.extend(prices(plan));
    blocks.push(match plan.recommended {
        Some(method) => format!("{}\n\n{}", recommendation(plan, method), steps(plan)),
        None => {
            "no method is possible as things are; `vecferry check` says what is in the way".into()
        }
    });
    blocks.extend(plan.alternative.clone());
    blocks.extend(notes(plan));
    if let Some(method) = plan.recommended {
        blocks.push(format!("next: vecferry migrate --method {}", name(method)));
    }
    blocks.join("\n\n")
}

/// One method and nothing else: its steps, or why it is not possible.
pub(super) fn alone(plan: &Plan, method: &MethodPlan) -> String {
    let why_not = method.why_not.clone().unwrap_or_default();
    if !method.possible {
        return format!("{} is not possible here: {why_not}", name(method.method));
    }
    let mut blocks = vec![steps(plan)];
    blocks.extend(prices_of(&[method]));
    if method.method == Method::Follow {
        blocks.extend(apply_start(plan));
        blocks.push(format!("downtime: {}", method.downtime));
    }
    blocks.extend(notes(plan));
    blocks.join("\n\n")
}

fn inventory(plan: &Plan) -> String {
    let row = |what: &str, of: &dyn Fn(&ClusterSummary) -> String| {
        let of = |side: &Option<ClusterSummary>| side.as_ref().map_or("–".into(), of);
        vec![what.to_owned(), of(&plan.source), of(&plan.target)]
    };
    let rows = vec![
        row("database", &|one| one.database.clone()),
        row("PostgreSQL", &|one| one.server.clone()),
        row("pgvector", &|one| one.pgvector.clone().unwrap_or("–".into())),
        row("tables", &|one| count(one.tables as u64)),
        row("rows, about", &|one| count(one.estimated_rows)),
        row("table size", &|one| size(one.table_bytes)),
        row("index size", &|one| size(one.index_bytes)),
        row("sequences", &|one| count(one.sequences as u64)),
        row("views", &|one| count(one.views as u64)),
        row("large objects", &|one| count(one.large_objects)),
    ];
    table(&["", "source", "target"], &[1, 2], rows)
}

fn vectors(source: &ClusterSummary) -> Option<String> {
    let rows: Vec<_> = source
        .vector_columns
        .iter()
        .map(|column| {
            let indexes = source.vector_indexes.iter().filter(|index| index.table == column.table);
            let indexes: Vec<String> = indexes
                .map(|index| {
                    let options = index.options.join(", ");
                    let options =
                        if options.is_empty() { options } else { format!(" ({options})") };
                    format!("{} {}{options} {}", index.index, index.method, size(index.bytes))
                })
                .collect();
            vec![
                format!("{}.{}", column.table, column.column),
                column.type_name.clone(),
                count(column.estimated_rows),
                indexes.join("\n"),
            ]
        })
        .collect();
    let header = ["vectors", "type", "rows, about", "indexes of the table"];
    (!rows.is_empty()).then(|| table(&header, &[2], rows))
}

/// The figures side by side.
fn methods(plan: &Plan, ui: &Ui) -> String {
    let row = |method: &MethodPlan| {
        let here = if method.possible {
            ui.coloured(Colour::Green, "possible")
        } else {
            "not possible".into()
        };
        let price = between(method.price.dollars, [method.price.low, method.price.high], usd);
        let all = between(method.seconds, [method.seconds_low, method.seconds_high], duration);
        vec![name(method.method), here, all, time(method.downtime_seconds), price]
    };
    let header = ["method", "here", "time", "downtime", "price"];
    table(&header, &[2, 3, 4], plan.methods.iter().map(row).collect())
}

/// What stands behind the figures.
fn explanations(plan: &Plan) -> String {
    let mut rows = Vec::new();
    for method in &plan.methods {
        let mut title = name(method.method);
        let mut row = |aspect: &str, text: &str| {
            rows.push(vec![std::mem::take(&mut title), aspect.to_owned(), text.to_owned()]);
        };
        if let Some(why_not) = &method.why_not {
            row("not possible", why_not);
        }
        row("downtime", &method.downtime);
        row("price", &method.price.note);
        row("could lose", &method.could_lose);
        if let (Method::Follow, Some(choice)) = (method.method, &plan.apply_start) {
            row("apply starts", &choice.why);
        }
    }
    table(&["method", "", ""], &[], rows)
}

/// What the prices are made of, method by method.
fn prices(plan: &Plan) -> Option<String> {
    let methods: Vec<&MethodPlan> = plan.methods.iter().filter(|one| one.possible).collect();
    Some(format!("{}\n{}", prices_of(&methods)?, plan.prices))
}

fn prices_of(methods: &[&MethodPlan]) -> Option<String> {
    let mut rows = Vec::new();
    for method in methods {
        let mut title = name(method.method);
        for line in &method.price.lines {
            rows.push(vec![
                std::mem::take(&mut title),
                line.what.clone(),
                format!("{} {}", amount(line.quantity.expected), line.unit),
                format!("${}", line.price.usd),
                usd(line.usd.expected),
                format!("{} – {}", usd(line.usd.low), usd(line.usd.high)),
            ]);
        }
    }
    let header = ["price of", "what is paid for", "expected", "each", "in all", "range"];
    (!rows.is_empty()).then(|| table(&header, &[2, 3, 4, 5], rows))
}

/// Three digits that count.
fn amount(quantity: f64) -> String {
    match quantity {
        0.0 => "0".into(),
        n if n >= 100.0 => count(n.round() as u64),
        n if n >= 1.0 => format!("{n:.1}"),
        n => format!("{n:.3}"),
    }
}

/// Dollars to the cent; less than that is said as such.
fn usd(dollars: f64) -> String {
    if dollars > 0.0 && dollars < 0.005 { "<$0.01".into() } else { format!("${dollars:.2}") }
}

/// What is expected; with its range where that says more.
fn between(expected: Option<f64>, range: [Option<f64>; 2], show: fn(f64) -> String) -> String {
    let Some(expected) = expected.map(show) else { return "?".into() };
    match range.map(|end| end.map(show)) {
        [Some(low), Some(high)] if low != high => format!("{expected} ({low} – {high})"),
        _ => expected,
    }
}

fn recommendation(plan: &Plan, method: Method) -> String {
    let reason = plan.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("recommended: {}{reason}", name(method))
}

fn apply_start(plan: &Plan) -> Option<String> {
    Some(format!("apply starts {}", plan.apply_start.as_ref()?.why))
}

fn steps(plan: &Plan) -> String {
    let row = |(at, step): (usize, &Step)| {
        vec![(at + 1).to_string(), step.phase.to_string(), step.what.clone(), time(step.seconds)]
    };
    let mut rows: Vec<_> = plan.steps.iter().enumerate().map(row).collect();
    let all: f64 = plan.estimates.iter().map(|(_, seconds)| seconds).sum();
    if !plan.estimates.is_empty() {
        rows.push(vec![String::new(), "in all".into(), String::new(), duration(all)]);
    }
    let steps = table(&["step", "phase", "what is done", "time"], &[3], rows);
    match plan.verify_seconds {
        Some(seconds) => format!("{steps}\nand vecferry verify: {}", duration(seconds)),
        None => steps,
    }
}

fn notes(plan: &Plan) -> Option<String> {
    let notes: Vec<String> =
        plan.warnings.iter().map(|warning| format!("note: {warning}")).collect();
    (!notes.is_empty()).then(|| notes.join("\n"))
}

fn time(seconds: Option<f64>) -> String {
    seconds.map_or("?".into(), duration)
}

fn name(method: Method) -> String {
    format!("{method:?}").to_lowercase()
}
