/// The colours and strokes of charts, as a style sheet: light, and dark where the reader prefers it.
///
/// The series' colours are those of Okabe and Ito (2008), which people with any kind of colour vision tell apart,
/// brighter on a dark ground; a ninth series begins again, dashed.
enum ChartStyle {
    static let colors = 8
    static let light = [
        "#0072B2", "#D55E00", "#009E73", "#AA4499", "#B8860B", "#3C9FD6", "#6B6B6B", "#882255",
    ]
    static let dark = [
        "#56B4E9", "#FF8C42", "#2CCB9C", "#E08BC9", "#F0C04A", "#A0D8FF", "#B5B5B5", "#F08CA8",
    ]

    /// Stroke patterns of the first eight series, the next eight, and so on.
    static func dash(_ series: Int) -> String? {
        [nil, "6 3", "2 3", "8 3 2 3"][series / colors % 4]
    }

    /// Plain rules without variables, so that converters of SVG understand them.
    static let css: String = {
        var out = """
            .keel-chart{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-size:11px}
            .keel-chart .bg{fill:#fff}
            .keel-chart text{fill:#57606a}
            .keel-chart .title{fill:#1f2328;font-size:13px;font-weight:600}
            .keel-chart .name{fill:#1f2328}
            .keel-chart .grid{stroke:#e6e8eb;stroke-width:1}
            .keel-chart .axis{stroke:#afb8c1;stroke-width:1}
            .keel-chart .ref{stroke:#57606a;stroke-width:1;stroke-dasharray:5 4}
            .keel-chart .mark{stroke:#afb8c1;stroke-width:1;stroke-dasharray:2 3}
            .keel-chart .bad{stroke:#cf222e;stroke-width:1.5}
            .keel-chart path{fill:none;stroke-linejoin:round;stroke-linecap:round}
            .keel-chart .line{stroke-width:1.8}
            .keel-chart .halo{stroke:#fff;stroke-width:3;paint-order:stroke}
            .keel-chart .raw{stroke-width:1.1;opacity:.4}
            .keel-chart .band{stroke:none;opacity:.18}
            .keel-chart .whisker{stroke-width:2}

            """
        out += rules(light)
        out += "@media (prefers-color-scheme:dark){\n"
        out += """
            .keel-chart .bg{fill:#14181d}
            .keel-chart text{fill:#9aa4af}
            .keel-chart .halo{stroke:#14181d}
            .keel-chart .title,.keel-chart .name{fill:#e6edf3}
            .keel-chart .grid{stroke:#262c33}
            .keel-chart .axis,.keel-chart .mark{stroke:#4a535d}
            .keel-chart .ref{stroke:#9aa4af}
            .keel-chart .bad{stroke:#ff7b72}

            """
        out += rules(dark) + "}\n"
        return out
    }()

    private static func rules(_ palette: [String]) -> String {
        palette.enumerated().map { n, color in
            ".keel-chart .s\(n){stroke:\(color)}.keel-chart .f\(n){fill:\(color)}"
        }.joined(separator: "\n") + "\n"
    }
}
