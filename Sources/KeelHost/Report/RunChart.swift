import Glibc
import KeelCore

/// Makes charts of what runs logged: a line for each run, or the mean and a band for each group.
struct RunChart {
    /// What the band around the mean of several runs shows.
    enum Band: String, CaseIterable, Sendable {
        /// From the lowest to the highest of the runs.
        case range
        /// One standard deviation (n - 1) up and down.
        case sd
        /// One standard error up and down.
        case se

        var text: String {
            switch self {
            case .range: "lowest to highest"
            case .sd: "one standard deviation (n - 1) up and down"
            case .se: "one standard error up and down"
            }
        }
    }

    var groups: [RunGroup]
    var band = Band.range
    /// Log lines that are averaged for the line drawn; 1 = as logged.
    var smoothing = 1
    var x = "step"
    /// The metric of the x axis, as people call it.
    var xTitle: String {
        switch x {
        case "num_tokens": "tokens"
        default: x
        }
    }

    /// The chart of one metric; groups without it are left out.
    ///
    /// - Parameter names: for several metrics in one chart, each with the label of its line.
    func chart(_ metric: String) -> Chart {
        var chart = Chart(title: metric, xTitle: xTitle)
        for (color, group) in groups.enumerated() {
            let series = series(metric, of: group, color: color)
            if !series.points.isEmpty { chart.series.append(series) }
        }
        return chart
    }

    /// A group's line.
    func series(_ metric: String, of group: RunGroup, color: Int) -> Chart.Series {
        let having = group.runs.filter { $0.metrics.columns[metric] != nil }
        let label = having.count > 1 ? "\(group.label) (\(having.count) runs)" : group.label
        var series = Chart.Series(label: label, color: color, points: [])
        if having.count == 1 {
            series.points = having[0].metrics.points(metric, over: x)
        } else {
            (series.points, series.band) = mean(metric, having)
        }
        if smoothing > 1, series.points.count > 2 {
            if having.count == 1 { series.raw = series.points }
            series.points = Chart.smooth(series.points, width: smoothing)
            series.band = smooth(series.band)
        }
        return series
    }

    /// Mean and band at the steps that all runs have logged.
    private func mean(
        _ metric: String, _ runs: [RunRecord]
    ) -> (points: [Chart.Point], band: [Chart.Span]) {
        var at: [Int: [Chart.Point]] = [:]
        for run in runs {
            var own: [Int: Chart.Point] = [:]
            let points = run.metrics.points(metric, over: x)
            // With another x than the step a line without it has no point.
            guard points.count == run.metrics.steps(of: metric).count else { continue }
            for (step, point) in zip(run.metrics.steps(of: metric), points) { own[step] = point }
            for (step, point) in own { at[step, default: []].append(point) }
        }
        var points: [Chart.Point] = []
        var band: [Chart.Span] = []
        for (_, found) in at.sorted(by: { $0.key < $1.key }) where found.count == runs.count {
            let x = Statistics.mean(found.map(\.x))
            let values = found.map(\.y)
            let mean = Statistics.mean(values)
            points.append(Chart.Point(x: x, y: mean))
            guard mean.isFinite else { continue }
            let spread = Statistics.deviation(values)
            switch self.band {
            case .range:
                band.append(
                    Chart.Span(x: x, low: values.min() ?? mean, high: values.max() ?? mean))
            case .sd: band.append(Chart.Span(x: x, low: mean - spread, high: mean + spread))
            case .se:
                let error = spread / Double(values.count).squareRoot()
                band.append(Chart.Span(x: x, low: mean - error, high: mean + error))
            }
        }
        return (points, band)
    }

    private func smooth(_ band: [Chart.Span]) -> [Chart.Span] {
        let lows = Chart.smooth(band.map { Chart.Point(x: $0.x, y: $0.low) }, width: smoothing)
        let highs = Chart.smooth(band.map { Chart.Point(x: $0.x, y: $0.high) }, width: smoothing)
        return zip(lows, highs).map { Chart.Span(x: $0.x, low: $0.y, high: $1.y) }
    }

    /// What has to be said below a figure of these charts.
    var note: String {
        var parts: [String] = []
        let sizes = Set(groups.map(\.runs.count).filter { $0 > 1 }).sorted()
        if !sizes.isEmpty {
            let count = sizes.map(String.init).joined(separator: " or ")
            parts.append("Lines: means of \(count) runs. Bands: \(band.text).")
        }
        if smoothing > 1 {
            parts.append(
                "Smoothed: mean of \(smoothing) neighbouring log lines"
                    + (groups.contains { $0.runs.count == 1 } ? "; faint: as logged." : "."))
        }
        return parts.joined(separator: " ")
    }
}
