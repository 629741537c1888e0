extension ReportPage {
    /// A run of so many log lines or more is drawn smoothed.
    private static let smoothedLines = 100

    /// The curves, a section for each heading.
    func curves() -> [(title: String, html: String)] {
        var names: [String] = []
        for run in runs {
            for (name, column) in run.metrics.columns
            where !names.contains(name) && isCurve(name, column) {
                names.append(name)
            }
        }
        let sections = ChartPlan.sections(names, isCombined: groups.count == 1)
        var number = 0
        return sections.map { section in
            var cards = ""
            var drawn: [(plan: ChartPlan, values: [[Double]])] = []
            var equal: [String] = []
            var constant: [String] = []
            for plan in section.plans {
                let values = values(plan)
                if let only = ReportPage.constant(values) {
                    constant.append("\(plan.title) \(Scale.plain(only))")
                } else if let twin = drawn.first(where: { $0.values == values })?.plan {
                    equal.append("\(plan.title) = \(twin.title)")
                } else {
                    cards += card(plan, number: number)
                    number += 1
                    drawn.append((plan, values))
                }
            }
            var html = cards.isEmpty ? "" : "<div class=\"cards\">\n\(cards)</div>\n"
            var notes = [note(section)]
            if !equal.isEmpty {
                notes.append("The same numbers: \(equal.joined(separator: ", ")).")
            }
            if !constant.isEmpty { notes.append("Always: \(constant.joined(separator: ", ")).") }
            for note in notes where !note.isEmpty {
                html += "<p class=\"iv\">\(Markup.escape(note))</p>\n"
            }
            return (section.title, html)
        }
    }

    /// All values that a plan draws, by line and run.
    private func values(_ plan: ChartPlan) -> [[Double]] {
        let metrics = plan.lines.map(\.metric) + (plan.band.map { [$0.low, $0.high] } ?? [])
        return metrics.flatMap { metric in runs.map { $0.metrics.columns[metric]?.values ?? [] } }
    }

    /// The only value there is, where a curve would show nothing.
    private static func constant(_ values: [[Double]]) -> Double? {
        let all = values.lazy.flatMap { $0 }
        guard let first = all.first, all.allSatisfy({ $0 == first }) else { return nil }
        return first
    }

    /// Counters that never counted anything, and what was measured once, are no curves.
    private func isCurve(_ name: String, _ column: MetricTable.Column) -> Bool {
        guard column.values.count > 1 || isHeldOut(name) else { return false }
        return !name.hasPrefix("reward_calls/") || column.values.contains { $0 != 0 }
    }

    /// Even a single evaluation has its place beside the curve of the training.
    private func isHeldOut(_ name: String) -> Bool {
        name.hasPrefix("eval_") && count(String(name.dropFirst(5))) > 1
    }

    private func maker(_ lines: Int) -> RunChart {
        var maker = RunChart(groups: groups)
        maker.band = band
        maker.x = x
        maker.smoothing = smoothing ?? (lines < ReportPage.smoothedLines ? 1 : max(5, lines / 40))
        return maker
    }

    private func count(_ metric: String) -> Int {
        runs.map { $0.metrics.columns[metric]?.values.count ?? 0 }.max() ?? 0
    }

    /// The chart of a plan.
    func chart(_ plan: ChartPlan) -> Chart {
        if groups.count > 1 {
            let metric = plan.lines.first?.metric ?? plan.title
            var chart = maker(count(metric)).chart(metric)
            chart.title = plan.title
            return chart
        }
        var chart = Chart(title: plan.title, xTitle: RunChart(groups: groups, x: x).xTitle)
        for (color, line) in plan.lines.enumerated() {
            let maker = maker(count(line.metric))
            var series = maker.series(line.metric, of: groups[0], color: color)
            series.label = line.label
            if color == 0, let ends = plan.band {
                let low = maker.series(ends.low, of: groups[0], color: 0).points
                let high = maker.series(ends.high, of: groups[0], color: 0).points
                if low.count == high.count {
                    series.band = zip(low, high).map {
                        Chart.Span(x: $0.x, low: $0.y, high: $1.y)
                    }
                }
                series.raw = []
            }
            // Many lines and what was logged behind them would hide each other.
            if plan.lines.count > 2 { series.raw = [] }
            chart.series.append(series)
        }
        if runs.count == 1, x == "step" { chart.marks = runs[0].phaseMarks }
        return chart
    }

    private func card(_ plan: ChartPlan, number: Int) -> String {
        var chart = chart(plan)
        guard !chart.series.isEmpty else { return "" }
        if chart.series.count > 1, chart.series.allSatisfy({ $0.points.count == 1 }) {
            return dots(chart, number: number)
        }
        func draw(_ chart: Chart, _ name: String) -> String {
            var untitled = chart
            untitled.title = ""
            var figure = Figure(title: chart.title, panels: [.lines(untitled)])
            figure.width = 430
            // A long legend takes its room from the page, not from the curves.
            figure.totalHeight = 264 + (groups.count > 5 ? 16 * Double(groups.count / 5) : 0)
            figure.legend = groups.count > 1 ? .always : .severalSeries
            return figure.svg(name: name, isFile: false)
        }
        let linear = draw(chart, "c\(number)")
        let values = chart.series.flatMap { $0.points.map(\.y) }.filter(\.isFinite)
        guard let low = values.min(), let high = values.max(), low > 0, high > 20 * low else {
            return "<figure class=\"card\">\n\(linear)</figure>\n"
        }
        chart.isLogY = true
        return """
            <figure class="card">
            <input type="checkbox" class="lg" id="lg\(number)"><label for="lg\(number)">log</label>
            <div class="lin">\(linear)</div>
            <div class="log">\(draw(chart, "l\(number)"))</div>
            </figure>

            """
    }

    /// What each run measured once: compared side by side, not over its step.
    private func dots(_ chart: Chart, number: Int) -> String {
        var plot = DotPlot(title: chart.title)
        plot.rows = chart.series.map { series in
            let span = series.band.first
            return DotPlot.Row(
                label: series.label, color: series.color,
                value: series.points.first.flatMap { $0.y.isFinite ? $0.y : nil }.map {
                    DotPlot.Value(value: $0, low: span?.low, high: span?.high)
                })
        }
        var figure = Figure(panels: [.dots(plot)])
        figure.width = 430
        return
            "<figure class=\"card\">\n\(figure.svg(name: "d\(number)", isFile: false))</figure>\n"
    }

    private func note(_ section: ChartPlan.Section) -> String {
        let lines = section.plans.flatMap(\.lines).map { count($0.metric) }.max() ?? 0
        return maker(lines).note
    }
}
