/// A panel of lines over a common x axis.
struct Chart {
    struct Point: Equatable {
        var x: Double
        /// Not finite: the line is interrupted, and the place is marked.
        var y: Double
    }

    /// A part of a band around a line.
    struct Span: Equatable {
        var x: Double
        var low: Double
        var high: Double
    }

    struct Series {
        var label: String
        /// Its place in the palette.
        var color: Int
        var points: [Point]
        /// What the line is the smoothed form of, drawn faintly behind it.
        var raw: [Point] = []
        var band: [Span] = []
    }

    var title = ""
    var xTitle = "step"
    var isLogX = false
    var isLogY = false
    /// Ends of the y axis; nil = what the data needs.
    var yLow: Double?
    var yHigh: Double?
    var series: [Series] = []
    /// Horizontal lines, such as a baseline.
    var references: [(value: Double, label: String)] = []
    /// Vertical lines, such as the start of a phase.
    var marks: [(x: Double, label: String)] = []

    /// The axes that hold everything drawn.
    var scales: (x: Scale, y: Scale) {
        let all = series.flatMap { $0.points + $0.raw }
        let spans = series.flatMap(\.band)
        let x = Scale(all.map(\.x) + spans.map(\.x), isLog: isLogX, margin: 0.015)
        let values = all.map(\.y) + spans.flatMap { [$0.low, $0.high] } + references.map(\.value)
        return (x, Scale(values, isLog: isLogY, lowest: yLow, highest: yHigh))
    }
}

extension Chart {
    /// The mean of the `width` points around each, fewer at the ends; points that are not finite are passed over.
    static func smooth(_ points: [Point], width: Int) -> [Point] {
        guard width > 1, points.count > 2 else { return points }
        var sums = [0.0]
        var counts = [0]
        for point in points {
            let isThere = point.y.isFinite
            sums.append((sums.last ?? 0) + (isThere ? point.y : 0))
            counts.append((counts.last ?? 0) + (isThere ? 1 : 0))
        }
        let half = width / 2
        return points.indices.map { n in
            let from = max(0, n - half)
            let to = min(points.count, n + (width - half))
            let count = counts[to] - counts[from]
            return Point(
                x: points[n].x, y: count == 0 ? .nan : (sums[to] - sums[from]) / Double(count))
        }
    }

    /// At most four points for each of `columns` equal parts of the x range: first, lowest, highest, last.
    ///
    /// No spike gets lost, however many points there are; a point that is not finite stays as well.
    static func thin(_ points: [Point], on scale: Scale, columns: Int) -> [Point] {
        guard points.count > 4 * columns else { return points }
        var kept: [Point] = []
        var start = 0
        while start < points.count {
            let column = place(points[start].x, scale, columns)
            var end = start + 1
            var low = start
            var high = start
            var fault: Int?
            if !points[start].y.isFinite { fault = start }
            while end < points.count, place(points[end].x, scale, columns) == column {
                if !points[end].y.isFinite {
                    fault = fault ?? end
                } else {
                    // A comparison with NaN is false: a lost first point gives way.
                    if !(points[low].y <= points[end].y) { low = end }
                    if !(points[high].y >= points[end].y) { high = end }
                }
                end += 1
            }
            for index in Set([start, low, high, end - 1, fault ?? start]).sorted() {
                kept.append(points[index])
            }
            start = end
        }
        return kept
    }

    /// The same for a band: the widest span of each part.
    static func thin(_ spans: [Span], on scale: Scale, columns: Int) -> [Span] {
        guard spans.count > 2 * columns else { return spans }
        var kept: [Span] = []
        var last: Int?
        for span in spans {
            let column = place(span.x, scale, columns)
            if column == last, let held = kept.last {
                kept[kept.count - 1].low = min(held.low, span.low)
                kept[kept.count - 1].high = max(held.high, span.high)
            } else {
                kept.append(span)
                last = column
            }
        }
        return kept
    }

    private static func place(_ x: Double, _ scale: Scale, _ columns: Int) -> Int {
        let share = scale.share(x)
        return share.isFinite ? Int(min(max(share, 0), 1) * Double(columns - 1)) : -1
    }
}

/// A panel of values with intervals, a line for each of the things compared.
struct DotPlot {
    struct Value: Equatable {
        var value: Double
        var low: Double?
        var high: Double?
    }

    struct Row {
        var label: String
        var color: Int
        var value: Value?
        /// Values that the row's is the mean of, such as one for each seed.
        var parts: [Double] = []
    }

    var title = ""
    var isLog = false
    var rows: [Row] = []
    var references: [(value: Double, label: String)] = []

    var scale: Scale {
        let values = rows.flatMap { row in
            row.parts + [row.value?.value, row.value?.low, row.value?.high].compactMap { $0 }
        }
        return Scale(values + references.map(\.value), isLog: isLog, margin: 0.06)
    }
}
