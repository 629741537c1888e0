/// Draws values with intervals into a frame, a line for each row.
struct DotPanel {
    private let plot: DotPlot
    private let scale: Scale
    private let left: Double
    private let right: Double
    private let top: Double
    private let bottom: Double

    init(_ plot: DotPlot, frame: LinePanel.Frame) {
        self.plot = plot
        scale = plot.scale
        let wide = plot.rows.map { Markup.width($0.label, size: 11) }.max() ?? 20
        left = frame.x + min(wide + 24, frame.width / 2)
        right = frame.x + frame.width - 18
        top = frame.y + (plot.title.isEmpty ? 8 : 30)
        bottom = frame.y + frame.height - 28
    }

    private func place(_ value: Double) -> Double? {
        let share = scale.share(value)
        return share.isFinite ? left + min(max(share, 0), 1) * (right - left) : nil
    }

    func svg() -> String {
        var out = ""
        if !plot.title.isEmpty {
            out += Figure.text(plot.title, left, top - 12, class: "title")
        }
        var free = -Double.infinity
        for tick in scale.ticks(max(2, Int((right - left) / 70))) {
            guard let x = place(tick.value) else { continue }
            out += LinePanel.rule("grid", x, top, x, bottom)
            let half = Markup.width(tick.label, size: 11) / 2
            guard x - half > free else { continue }
            free = x + half + 6
            out += Figure.text(tick.label, x, bottom + 16, anchor: "middle")
        }
        out += LinePanel.rule("axis", left, bottom, right, bottom)
        for reference in plot.references {
            guard let x = place(reference.value) else { continue }
            out += LinePanel.rule("ref", x, top, x, bottom)
            let isRight = x > (left + right) / 2
            out += Figure.text(
                reference.label, x + (isRight ? -4 : 4), top + 4, anchor: isRight ? "end" : nil,
                class: "halo")
        }
        let space = (bottom - top) / Double(max(1, plot.rows.count))
        for (n, row) in plot.rows.enumerated() {
            out += line(row, y: top + (Double(n) + 0.5) * space)
        }
        return out
    }

    private func line(_ row: DotPlot.Row, y: Double) -> String {
        var out = Figure.text(row.label, left - 10, y + 3.5, anchor: "end", class: "name")
        let hue = row.color % ChartStyle.colors
        guard let value = row.value, let x = place(value.value) else {
            return out + Figure.text("no value", left + 6, y + 3.5)
        }
        if let low = value.low.flatMap(place), let high = value.high.flatMap(place) {
            out += LinePanel.rule("whisker s\(hue)", low, y, high, y)
            for end in [low, high] {
                out += LinePanel.rule("whisker s\(hue)", end, y - 4, end, y + 4)
            }
        }
        for part in row.parts.compactMap(place) {
            out +=
                "<circle class=\"f\(hue)\" opacity=\"0.35\" cx=\"\(Markup.place(part))\" cy=\"\(Markup.place(y))\" r=\"3\"/>\n"
        }
        return out
            + "<circle class=\"f\(hue)\" cx=\"\(Markup.place(x))\" cy=\"\(Markup.place(y))\" r=\"4.5\"/>\n"
    }
}
