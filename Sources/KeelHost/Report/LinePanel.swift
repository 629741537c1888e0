/// Draws a chart of lines into its frame.
struct LinePanel {
    typealias Frame = (x: Double, y: Double, width: Double, height: Double)

    private let chart: Chart
    private let scales: (x: Scale, y: Scale)
    private let yTicks: [Scale.Tick]
    /// The ends of the axes.
    private let left: Double
    private let right: Double
    private let top: Double
    private let bottom: Double

    /// Lines of so few points show each of them.
    private static let markedPoints = 40

    init(_ chart: Chart, frame: Frame) {
        self.chart = chart
        scales = chart.scales
        top = frame.y + (chart.title.isEmpty ? 12 : 34)
        bottom = frame.y + frame.height - 40
        yTicks = scales.y.ticks(max(2, Int((bottom - top) / 38)))
        let wide = yTicks.map { Markup.width($0.label, size: 11) }.max() ?? 20
        left = frame.x + max(40, wide + 20)
        right = frame.x + frame.width - 18
    }

    /// Where a point stands; far outside is brought near, for a coordinate must stay a number.
    private func place(_ x: Double, _ y: Double) -> (x: Double, y: Double)? {
        let across = scales.x.share(x)
        let up = scales.y.share(y)
        guard across.isFinite, up.isFinite else { return nil }
        return (
            left + min(max(across, -10), 10) * (right - left),
            bottom - min(max(up, -10), 10) * (bottom - top)
        )
    }

    /// - Parameter clip: the id of the area that lines stay in.
    func svg(clip: String) -> String {
        var out = "<g class=\"panel\" data-box=\"\(numbers(left, top, right, bottom))\" "
        out += "data-x=\"\(ends(scales.x))\" data-y=\"\(ends(scales.y))\" "
        out += "data-name=\"\(Markup.escape(chart.xTitle))\">\n"
        if !chart.title.isEmpty {
            out += Figure.text(chart.title, left, top - 14, class: "title")
        }
        out +=
            "<clipPath id=\"\(clip)\"><rect x=\"\(Markup.place(left))\" y=\"\(Markup.place(top - 3))\" "
            + "width=\"\(Markup.place(right - left + 3))\" height=\"\(Markup.place(bottom - top + 6))\"/></clipPath>\n"
        out += axes()
        out += "<g clip-path=\"url(#\(clip))\">\n"
        for series in chart.series { out += band(series) }
        for series in chart.series where !series.raw.isEmpty {
            out += line(series.raw, series, class: "raw")
        }
        for series in chart.series { out += line(series.points, series, class: "line") }
        out += "</g>\n"
        out += references()
        if chart.series.allSatisfy({ $0.points.isEmpty }) {
            out += Figure.text(
                "no values", (left + right) / 2, (top + bottom) / 2, anchor: "middle")
        }
        return out + "</g>\n"
    }

    /// What a script needs to tell values from places.
    private func ends(_ scale: Scale) -> String {
        "\(scale.low) \(scale.high) \(scale.isLog ? 1 : 0)"
    }

    private func numbers(_ values: Double...) -> String {
        values.map(Markup.place).joined(separator: " ")
    }

    private func axes() -> String {
        var out = ""
        for tick in yTicks {
            guard let at = place(anyX, tick.value) else { continue }
            out += rule("grid", left, at.y, right, at.y)
            out += Figure.text(tick.label, left - 8, at.y + 3.5, anchor: "end")
        }
        out += rule("axis", left, bottom, right, bottom)
        var free = -Double.infinity
        for tick in scales.x.ticks(max(2, Int((right - left) / 75))) {
            guard let at = place(tick.value, anyY) else { continue }
            out += rule("axis", at.x, bottom, at.x, bottom + 4)
            let half = Markup.width(tick.label, size: 11) / 2
            guard at.x - half > free else { continue }
            free = at.x + half + 6
            out += Figure.text(tick.label, at.x, bottom + 16, anchor: "middle")
        }
        out += Figure.text(chart.xTitle, (left + right) / 2, bottom + 32, anchor: "middle")
        for mark in chart.marks {
            guard let at = place(mark.x, anyY), at.x >= left, at.x <= right else { continue }
            out += rule("mark", at.x, top, at.x, bottom)
            out += Figure.text(mark.label, at.x + 4, top + 9)
        }
        return out
    }

    private func references() -> String {
        chart.references.map { reference in
            guard let at = place(anyX, reference.value), at.y >= top - 1, at.y <= bottom + 1 else {
                return ""
            }
            return rule("ref", left, at.y, right, at.y)
                + Figure.text(
                    // Towards the middle, where there is room.
                    reference.label, right, at.y + (at.y < (top + bottom) / 2 ? 13 : -5),
                    anchor: "end", class: "halo")
        }.joined()
    }

    /// Any value within the axis.
    private var anyX: Double { scales.x.low }
    private var anyY: Double { scales.y.low }

    private func band(_ series: Chart.Series) -> String {
        let spans = Chart.thin(series.band, on: scales.x, columns: Int(right - left))
        let ends = spans.compactMap { span -> (low: (Double, Double), high: (Double, Double))? in
            // A band that reaches down to where a logarithm ends is cut there.
            let floor = scales.y.isLog ? max(span.low, scales.y.low) : span.low
            guard let low = place(span.x, floor), let high = place(span.x, span.high) else {
                return nil
            }
            return (low, high)
        }
        guard ends.count > 1 else { return "" }
        let outline = ends.map(\.high) + ends.reversed().map(\.low)
        let path = outline.map { "\(Markup.place($0.0)) \(Markup.place($0.1))" }
        return "<path class=\"band f\(series.color % ChartStyle.colors)\" "
            + "d=\"M\(path.joined(separator: "L"))Z\"/>\n"
    }

    private func line(
        _ all: [Chart.Point], _ series: Chart.Series, class style: String
    ) -> String {
        let points = Chart.thin(all, on: scales.x, columns: Int(right - left))
        let hue = series.color % ChartStyle.colors
        var path = ""
        var alone: [(x: Double, y: Double)] = []
        var faults = ""
        var run: [(x: Double, y: Double)] = []
        func end() {
            if run.count == 1 { alone.append(run[0]) }
            if run.count > 1 {
                path +=
                    "M"
                    + run.map { "\(Markup.place($0.x)) \(Markup.place($0.y))" }
                    .joined(separator: "L")
            }
            run = []
        }
        for point in points {
            if let at = place(point.x, point.y) {
                run.append(at)
                continue
            }
            end()
            if !point.y.isFinite, style == "line", let at = place(point.x, anyY) {
                faults += "M\(Markup.place(at.x - 3)) \(Markup.place(bottom - 7))l6 6m0 -6l-6 6"
            }
        }
        end()
        var out = ""
        if !path.isEmpty {
            let dash = ChartStyle.dash(series.color).map { " stroke-dasharray=\"\($0)\"" } ?? ""
            let label = style == "line" ? " data-label=\"\(Markup.escape(series.label))\"" : ""
            out += "<path class=\"\(style) s\(hue)\"\(dash)\(label) d=\"\(path)\"/>\n"
        }
        if style == "line", all.count <= LinePanel.markedPoints {
            alone = points.compactMap { place($0.x, $0.y) }
        }
        for at in alone {
            out +=
                "<circle class=\"f\(hue)\" cx=\"\(Markup.place(at.x))\" cy=\"\(Markup.place(at.y))\" r=\"2.4\"/>\n"
        }
        if !faults.isEmpty { out += "<path class=\"bad\" d=\"\(faults)\"/>\n" }
        return out
    }

    private func rule(
        _ style: String, _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double
    ) -> String {
        LinePanel.rule(style, x1, y1, x2, y2)
    }

    /// A straight line.
    static func rule(
        _ style: String, _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double
    ) -> String {
        "<line class=\"\(style)\" x1=\"\(Markup.place(x1))\" y1=\"\(Markup.place(y1))\" "
            + "x2=\"\(Markup.place(x2))\" y2=\"\(Markup.place(y2))\"/>\n"
    }
}
