import Testing

@testable import KeelHost

@Suite struct ChartTests {
    private static func points(_ count: Int, _ y: (Int) -> Double) -> [Chart.Point] {
        (0..<count).map { Chart.Point(x: Double($0), y: y($0)) }
    }

    @Test func thinningKeepsEverySpike() {
        let spikes = [0, 7, 31_337, 50_000, 99_999]
        let all = ChartTests.points(100_000) {
            spikes.contains($0) ? 100 + Double($0) : Double($0 % 7)
        }
        let scale = Scale(all.map(\.x), margin: 0.02)
        let kept = Chart.thin(all, on: scale, columns: 500)
        #expect(kept.count <= 4 * 500)
        for spike in spikes { #expect(kept.contains(all[spike])) }
        #expect(kept.first == all.first && kept.last == all.last)
        #expect(kept.map(\.x) == kept.map(\.x).sorted())
        // What a column spans is kept as well.
        #expect(kept.filter { $0.y == 0 }.count > 400)
    }

    @Test func thinningKeepsFaults() {
        let all = ChartTests.points(10_000) { $0 == 0 || $0 == 4_321 ? .nan : 1 }
        let kept = Chart.thin(all, on: Scale(all.map(\.x)), columns: 100)
        #expect(kept.filter { $0.y.isNaN }.map(\.x) == [0, 4_321])
        #expect(kept.contains { $0.y == 1 && $0.x < 50 })
    }

    @Test func fewPointsStayAsTheyAre() {
        let all = ChartTests.points(50) { Double($0 * $0) }
        #expect(Chart.thin(all, on: Scale(all.map(\.x)), columns: 500) == all)
    }

    @Test func thinnedBandsStayWide() {
        let all = (0..<10_000).map { Chart.Span(x: Double($0), low: Double(-$0), high: Double($0)) }
        let kept = Chart.thin(all, on: Scale(all.map(\.x), margin: 0), columns: 10)
        #expect(kept.count == 10)
        #expect(kept.last?.low == -9_999 && kept.last?.high == 9_999)
    }

    @Test func smoothingIsTheMeanOfNeighbours() {
        let all = ChartTests.points(5) { [1, 2, 6, .nan, 4][$0] }
        #expect(Chart.smooth(all, width: 3).map(\.y) == [1.5, 3, 4, 5, 4])
        #expect(Chart.smooth(all, width: 1).map(\.x) == all.map(\.x))
    }

    @Test func aFigureIsTheSameBytesAgain() {
        var chart = Chart(title: "a & b")
        chart.series = [
            Chart.Series(
                label: "<run>", color: 0, points: ChartTests.points(300) { Double($0 % 11) },
                band: [Chart.Span(x: 0, low: 1, high: 2), Chart.Span(x: 9, low: 1, high: 2)]),
            Chart.Series(
                label: "nan", color: 9, points: [.init(x: 3, y: .nan), .init(x: 4, y: 1)]),
        ]
        chart.references = [(5, "five"), (1e30, "far")]
        chart.yHigh = 20
        chart.marks = [(100, "phase")]
        let figure = Figure(title: "t", note: "n", panels: [.lines(chart)])
        let svg = figure.svg()
        #expect(svg == figure.svg())
        #expect(svg.contains("a &amp; b") && svg.contains("&lt;run&gt;") && !svg.contains("<run>"))
        #expect(svg.contains("class=\"bad\""))
        #expect(svg.contains("stroke-dasharray=\"6 3\""))
        #expect(svg.contains(">five<") && !svg.contains(">far<"))
        #expect(svg.contains("<style>") && !figure.svg(isFile: false).contains("<style>"))
        #expect(!svg.contains("nan\"") && !svg.contains("inf"))
    }

    @Test func emptyChartsSayIt() {
        #expect(Figure(panels: [.lines(Chart(title: "x"))]).svg().contains("no values"))
        let plot = DotPlot(title: "x", rows: [DotPlot.Row(label: "a", color: 0, value: nil)])
        #expect(Figure(panels: [.dots(plot)]).svg().contains("no value"))
    }
}
