/// One drawing: a title, a legend, panels side by side, and what has to be said about them.
struct Figure {
    enum Panel {
        case lines(Chart)
        case dots(DotPlot)
    }

    var title = ""
    /// Small print below: what a band is, how lines were smoothed.
    var note = ""
    var panels: [Panel] = []
    /// Panels beside each other.
    var columns = 1
    /// The size of a panel, axes and labels included.
    var width = 560.0
    var height = 300.0
    /// The height of everything, for one row of lines; nil = what the panels need.
    var totalHeight: Double?
    /// When a legend says what the colours mean.
    var legend = Legend.severalSeries

    enum Legend { case never, severalSeries, always }

    /// The figure as SVG.
    ///
    /// - Parameters:
    ///   - name: makes ids unique where several figures stand in one document.
    ///   - isFile: a document of its own with style sheet and ground, not a part of a page.
    func svg(name: String = "k", isFile: Bool = true) -> String {
        let across = max(1, min(columns, panels.count))
        let total = Double(across) * width
        var body = ""
        var y = 8.0
        if !title.isEmpty {
            y += 14
            body += text(title, 12, y, class: "title")
            y += 8
        }
        if legend != .never { body += legend(width: total, y: &y) }
        for start in stride(from: 0, to: panels.count, by: across) {
            let row = panels[start..<min(start + across, panels.count)]
            let tall = totalHeight.map { $0 - y } ?? row.map(panelHeight).max() ?? height
            for (n, panel) in row.enumerated() {
                let frame = (x: Double(n) * width, y: y, width: width, height: tall)
                switch panel {
                case .lines(let chart):
                    body += LinePanel(chart, frame: frame).svg(clip: "\(name)-\(start + n)")
                case .dots(let plot): body += DotPanel(plot, frame: frame).svg()
                }
            }
            y += tall
        }
        for line in lines(of: note, width: total - 24) {
            y += 14
            body += text(line, 12, y)
        }
        if !note.isEmpty { y += 8 }
        let size = "width=\"\(Markup.place(total))\" height=\"\(Markup.place(y))\""
        let label = title.isEmpty ? panels.map(panelTitle).joined(separator: ", ") : title
        var out =
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"keel-chart\" \(size) "
            + "viewBox=\"0 0 \(Markup.place(total)) \(Markup.place(y))\" role=\"img\" "
            + "aria-label=\"\(Markup.escape(label))\">\n"
        if isFile {
            out += "<style>\n\(ChartStyle.css)</style>\n"
            out += "<rect class=\"bg\" width=\"100%\" height=\"100%\"/>\n"
        }
        return out + body + "</svg>\n"
    }

    private func panelTitle(_ panel: Panel) -> String {
        switch panel {
        case .lines(let chart): chart.title
        case .dots(let plot): plot.title
        }
    }

    private func panelHeight(_ panel: Panel) -> Double {
        switch panel {
        case .lines: height
        case .dots(let plot): 64 + 24 * Double(max(1, plot.rows.count))
        }
    }

    /// What the colours mean, once for all panels.
    private func legend(width: Double, y: inout Double) -> String {
        var entries: [(label: String, color: Int)] = []
        for case .lines(let chart) in panels {
            for series in chart.series
            where !entries.contains(where: { $0.label == series.label && $0.color == series.color })
            {
                entries.append((series.label, series.color))
            }
        }
        guard entries.count > 1 || legend == .always else { return "" }
        var out = ""
        var x = 12.0
        y += 14
        for entry in entries {
            let wide = 26 + Markup.width(entry.label, size: 11) + 16
            if x > 12, x + wide > width {
                x = 12
                y += 16
            }
            let dash = ChartStyle.dash(entry.color).map { " stroke-dasharray=\"\($0)\"" } ?? ""
            out +=
                "<path class=\"line s\(entry.color % ChartStyle.colors)\"\(dash) "
                + "d=\"M\(Markup.place(x)) \(Markup.place(y - 4))h20\"/>\n"
            out += text(entry.label, x + 26, y, class: "name")
            x += wide
        }
        y += 6
        return out
    }

    private func text(
        _ text: String, _ x: Double, _ y: Double, class style: String? = nil
    ) -> String {
        Figure.text(text, x, y, class: style)
    }

    /// A text at a place.
    static func text(
        _ text: String, _ x: Double, _ y: Double, anchor: String? = nil, class style: String? = nil
    ) -> String {
        "<text x=\"\(Markup.place(x))\" y=\"\(Markup.place(y))\""
            + (anchor.map { " text-anchor=\"\($0)\"" } ?? "")
            + (style.map { " class=\"\($0)\"" } ?? "") + ">\(Markup.escape(text))</text>\n"
    }

    /// A text cut into lines that fit.
    private func lines(of text: String, width: Double) -> [String] {
        var lines: [String] = []
        for word in text.split(separator: " ") {
            if let last = lines.last, Markup.width(last + " " + word, size: 11) <= width {
                lines[lines.count - 1] += " " + word
            } else {
                lines.append(String(word))
            }
        }
        return lines
    }
}
