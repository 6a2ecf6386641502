// In a notebook, a frame as high as the page that lies in it, also when a part of the page opens or closes

export function fitFrame() {
  if (!window.frameElement) return
  const fit = () => {
    window.frameElement.style.height = `${document.body.offsetHeight + 4}px`
  }
  new ResizeObserver(fit).observe(document.body)
  fit()
}
