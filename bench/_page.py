"""What benchmarks ask of a page in the browser."""

LONG_TASKS = """() => {
    window.longTasks = [];
    new PerformanceObserver(list => {
        for (const task of list.getEntries()) window.longTasks.push(task.duration);
    }).observe({entryTypes: ['longtask']});
}"""
"""Has the page note each task of its main thread that is longer than 50 ms, in milliseconds."""
